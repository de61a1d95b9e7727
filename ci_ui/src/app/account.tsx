import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Suspense, useEffect, useId, useRef } from "react";
import { commonText } from "#text/common";
import { signInText } from "#text/sign_in";
import { Time } from "../components/time";
import styles from "./account.module.css";
import { Boundary } from "./boundary";
import { lazyPart } from "./part";
import { askAgain, type Sender, type Session, signOut } from "./session";

const SignInForm = lazyPart(() => import("../pages/sign_in/form").then(({ SignInForm: form }) => ({ default: form })));

/** Who is signed in, with the way to sign out. */
export function Account({ sender }: { sender: Sender }) {
  const menu = useId();
  const leaving = useMutation({ mutationFn: signOut });
  if (sender.by === "nothing") return null;
  return (
    <div className={styles.account}>
      <button type="button" popoverTarget={menu} className={styles.name} aria-label={signInText.account(sender.name)}>
        {sender.name}
      </button>
      <div id={menu} popover="auto" className={styles.menu}>
        <dl>
          <dt>{signInText.role}</dt>
          <dd>{sender.role ?? signInText.scopesOnly}</dd>
          <dt>{signInText.projects}</dt>
          <dd>{sender.projects?.join(", ") ?? signInText.allProjects}</dd>
          {sender.expires && (
            <>
              <dt>{signInText.until}</dt>
              <dd>
                <Time at={sender.expires} />
              </dd>
            </>
          )}
        </dl>
        {sender.by === "session" && (
          <button type="button" aria-disabled={leaving.isPending} onClick={() => leaving.mutate()}>
            {leaving.isPending ? signInText.signingOut : signInText.signOut}
          </button>
        )}
        {leaving.isError && <p role="alert">{leaving.error.message}</p>}
      </div>
    </div>
  );
}

/** Says that a session has ended under an open page, which stays as it is, and offers to sign in again. */
export function Ended({ session }: { session: Session }) {
  const queries = useQueryClient();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    // An issuer is visited in another tab.
    const look = () => void askAgain(queries).catch(() => undefined);
    addEventListener("focus", look);
    return () => removeEventListener("focus", look);
  }, [queries]);
  return (
    <>
      <div role="alert" className={styles.ended}>
        <span>
          {signInText.ended} {session.problem}
        </span>
        <button type="button" onClick={() => dialog.current?.showModal()}>
          {signInText.again}
        </button>
      </div>
      <dialog ref={dialog} className={styles.dialog} aria-label={signInText.again}>
        <h2>{signInText.again}</h2>
        <Boundary resetKey="">
          <Suspense>
            <SignInForm issuers={session.issuers} returnTo="/" stays onSignedIn={() => dialog.current?.close()} />
          </Suspense>
        </Boundary>
        <form method="dialog" className={styles.close}>
          <button type="submit">{commonText.cancel}</button>
        </form>
      </dialog>
    </>
  );
}
