import type { ReactNode } from "react";
import { Link, useParams } from "wouter";
import { settingsText } from "#text/settings";
import { lazyPart } from "../../app/part";
import { may, maySomewhere, type Scope, useSession } from "../../app/session";
import { useTitle } from "../../app/title";
import { About } from "./about";
import { Keys } from "./keys";
import { useRoleName } from "./parts";
import { Projects } from "./projects";
import { Secrets } from "./secrets";
import styles from "./settings.module.css";

const Audit = lazyPart(() => import("./audit"));

type Tab = keyof typeof settingsText.tabs;

interface Part {
  /** What it takes to see it. */
  scope: Scope | null;
  /** Whether that has to hold for all projects. */
  isWhole?: boolean;
  content: () => ReactNode;
}

const TABS: Record<Tab, Part> = {
  keys: { scope: "keys:admin", content: () => <Keys /> },
  projects: { scope: "projects:read", content: () => <Projects /> },
  secrets: { scope: "secrets:read", content: () => <Secrets /> },
  audit: { scope: "audit:read", isWhole: true, content: () => <Audit /> },
  about: { scope: null, content: () => <About /> },
};

/** The settings that the API has, as far as the role allows. */
export default function SettingsPage() {
  useTitle(settingsText.title);
  const { tab: wanted } = useParams<{ tab?: string }>();
  const tab = (Object.keys(TABS) as Tab[]).find((each) => each === wanted) ?? "keys";
  const session = useSession().data;
  const role = useRoleName();
  const { scope, isWhole, content } = TABS[tab];
  const isShown = !scope || (isWhole ? may(session, scope, null) : maySomewhere(session, scope));
  return (
    <>
      <h1>{settingsText.title}</h1>
      <nav aria-label={settingsText.tabsLabel} className={styles.tabs}>
        {(Object.keys(TABS) as Tab[]).map((each) => (
          <Link key={each} href={`/settings/${each}`} aria-current={each === tab ? "page" : undefined}>
            {settingsText.tabs[each]}
          </Link>
        ))}
      </nav>
      {isShown ? (
        content()
      ) : (
        <p className="muted">{settingsText[isWhole ? "missingEverywhere" : "missing"](role, scope ?? "")}</p>
      )}
    </>
  );
}
