import { type ReactNode, useEffect, useRef } from "react";
import { Link, useLocation } from "wouter";
import { commonText } from "#text/common";
import { useConnection } from "../live";
import { Account, Ended } from "./account";
import type { Sender, Session } from "./session";
import { setTheme, THEMES, type Theme, useTheme } from "./theme";

const PAGES: { path: string; name: string }[] = [
  { path: "/", name: commonText.pages.jobs },
  { path: "/projects", name: commonText.pages.projects },
  { path: "/submit", name: commonText.pages.submit },
  { path: "/queue", name: commonText.pages.queue },
  { path: "/settings", name: commonText.pages.settings },
];

interface Props {
  children: ReactNode;
  /** Who is signed in. */
  sender: Sender | null;
  /** The session, if it has ended under the open page. */
  ended: Session | null;
  /** Whether no page can be gone to. */
  bare: boolean;
}

/** The frame of all pages: the way to each of them, and what is wrong with the connection. */
export function Layout({ children, sender, ended, bare }: Props) {
  const [path] = useLocation();
  const main = useRef<HTMLElement>(null);
  const shown = useRef(path);
  useEffect(() => {
    // Screen readers are told of a new page, as they are by a browser that loads one.
    if (shown.current !== path) main.current?.focus();
    shown.current = path;
  }, [path]);
  return (
    <>
      <button type="button" className="skip" onClick={() => main.current?.focus()}>
        {commonText.skip}
      </button>
      <header className="top">
        <Link href="/" className="brand">
          {commonText.product}
        </Link>
        {!bare && (
          <nav aria-label={commonText.navigation}>
            {PAGES.map(({ path: target, name }) => (
              <Link
                key={target}
                href={target}
                aria-current={(target === "/" ? path === target : path.startsWith(target)) ? "page" : undefined}
              >
                {name}
              </Link>
            ))}
          </nav>
        )}
        <ThemeChoice />
        {sender && <Account sender={sender} />}
      </header>
      {ended && <Ended session={ended} />}
      <ConnectionNotice />
      <main id="main" tabIndex={-1} ref={main}>
        {children}
      </main>
    </>
  );
}

function ThemeChoice() {
  const theme = useTheme();
  return (
    <label className="theme">
      <span className="hidden">{commonText.theme}</span>
      <select value={theme} onChange={(event) => setTheme(event.target.value as Theme)}>
        {THEMES.map((each) => (
          <option key={each} value={each}>
            {commonText.themes[each]}
          </option>
        ))}
      </select>
    </label>
  );
}

function ConnectionNotice() {
  const connection = useConnection();
  return (
    <div role="status" className="connection">
      {connection === "fine" || connection === "signed_out" ? null : commonText[connection]}
    </div>
  );
}
