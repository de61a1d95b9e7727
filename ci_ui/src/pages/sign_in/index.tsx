import { Link, useLocation, useSearch } from "wouter";
import { signInText } from "#text/sign_in";
import { returnPath, useSession } from "../../app/session";
import { useTitle } from "../../app/title";
import { Failure, Loading } from "../../components/placeholders";
import { SignInForm } from "./form";
import styles from "./sign_in.module.css";

/** Signs a browser in. It never leads anywhere by itself, except to the page that was asked for, once someone has signed in here. */
export default function SignInPage() {
  useTitle(signInText.title);
  const session = useSession();
  useSearch();
  // Not what useSearch returns, in which escaped characters are decoded twice.
  const search = location.search;
  const [, navigate] = useLocation();
  const returnTo = returnPath(search);
  if (session.isPending) return <Loading />;
  if (session.isError) return <Failure error={session.error} retry={() => void session.refetch()} />;
  const { needs_sign_in: needed, sender, problem, issuers } = session.data;
  const refusal = refusalOf(search) ?? problem;
  return (
    <div className={styles.page}>
      {!needed ? (
        <section className="notice">
          <h1>{signInText.openTitle}</h1>
          <p>{signInText.openText}</p>
          <FirstKey />
          <Link href={returnTo}>{signInText.proceed}</Link>
        </section>
      ) : sender ? (
        <section className="notice">
          <h1>{signInText.signedInTitle(sender.name)}</h1>
          <p>{signInText.signedInText}</p>
          <Link href={returnTo}>{signInText.proceed}</Link>
        </section>
      ) : (
        <>
          <h1>{signInText.title}</h1>
          {refusal && (
            <section className={styles.refusal} role="alert">
              <h2>{signInText.refused}</h2>
              <p>{refusal}</p>
            </section>
          )}
          <SignInForm issuers={issuers} returnTo={returnTo} onSignedIn={() => navigate(returnTo, { replace: true })} />
          <section className={styles.help}>
            <h2>{signInText.noKey}</h2>
            <p>{signInText.noKeyText}</p>
            <FirstKey />
          </section>
        </>
      )}
    </div>
  );
}

function FirstKey() {
  return (
    <pre className={styles.command}>
      <code>{signInText.firstKey}</code>
    </pre>
  );
}

/** Return what the code means with which a sign-in at an issuer came back, or null. Text of the address is never shown. */
function refusalOf(search: string): string | null {
  const code = new URLSearchParams(search).get("error");
  if (code === null) return null;
  const errors: Record<string, string> = signInText.errors;
  return Object.hasOwn(errors, code) ? (errors[code] ?? null) : signInText.errors.issuer_error;
}
