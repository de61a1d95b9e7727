import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";
import { commonText } from "#text/common";
import { signInText } from "#text/sign_in";
import { api, unwrap } from "../../api/client";
import { Problem, Unreachable } from "../../api/problem";
import { askAgain, issuerUrl, type Session } from "../../app/session";
import { tellSignedIn } from "../../live";
import styles from "./sign_in.module.css";

interface Props {
  issuers: Session["issuers"];
  /** The page that issuers lead back to, relative to the pages. */
  returnTo: string;
  /** Whether the page stays open while an issuer is visited. */
  stays?: boolean;
  onSignedIn: () => void;
}

/** A form for a key, and the way to each issuer. What was typed stays after a refusal. */
export function SignInForm({ issuers, returnTo, stays = false, onSignedIn }: Props) {
  const queries = useQueryClient();
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const id = useId();

  async function signIn(event: FormEvent) {
    event.preventDefault();
    if (busy) return;
    if (!key.trim()) return setProblem(signInText.empty);
    setBusy(true);
    setProblem(null);
    try {
      await unwrap(api.POST("/session", { body: { key: key.trim() } }));
      // Only a request of its own shows that the browser has kept the cookie.
      const session = await askAgain(queries);
      if (session.sender === null) return setProblem(session.problem ?? signInText.noCookie);
      void queries.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== "session" });
      tellSignedIn();
      onSignedIn();
    } catch (error) {
      setProblem(error instanceof Problem || error instanceof Unreachable ? error.message : commonText.brokenText);
    } finally {
      setBusy(false);
    }
  }

  return (
    <>
      <form onSubmit={(event) => void signIn(event)} className={styles.form}>
        <label htmlFor={`${id}-key`}>{signInText.key}</label>
        <input
          id={`${id}-key`}
          type="password"
          name="key"
          autoComplete="current-password"
          spellCheck={false}
          value={key}
          onChange={(event) => setKey(event.target.value)}
          aria-describedby={`${id}-hint ${id}-problem`}
          aria-invalid={problem !== null}
        />
        <p id={`${id}-hint`} className="muted">
          {signInText.keyHint}
        </p>
        <p id={`${id}-problem`} role="alert" className={styles.problem}>
          {problem}
        </p>
        <button type="submit" className="primary" aria-disabled={busy}>
          {busy ? signInText.busy : signInText.submit}
        </button>
      </form>
      {issuers.length > 0 && (
        <>
          <p className={styles.or}>{signInText.or}</p>
          <ul className={styles.issuers}>
            {issuers.map(({ issuer, url }) => (
              <li key={issuer}>
                <a href={issuerUrl(url, returnTo)} {...(stays ? { target: "_blank", rel: "noopener" } : {})}>
                  {signInText.at(new URL(issuer).host)}
                  {stays && <span className="hidden"> ({signInText.newTab})</span>}
                </a>
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}
