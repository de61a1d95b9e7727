import type { ReactNode } from "react";
import { commonText } from "#text/common";
import { Problem, Unreachable } from "../api/problem";

/** Stands where something is being loaded. */
export function Loading() {
  return (
    <p className="muted" role="status">
      {commonText.loading}
    </p>
  );
}

/** Says why something could not be loaded, and offers to try again. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const known = error instanceof Problem || error instanceof Unreachable;
  return (
    <section className="notice" role="alert">
      <h2>{commonText.failedTitle}</h2>
      <p>{known ? error.message : commonText.brokenText}</p>
      {retry && (
        <button type="button" onClick={retry}>
          {commonText.retry}
        </button>
      )}
    </section>
  );
}

/** Stands where there is nothing to show yet, and says what would be shown here. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <section className="notice">
      <h2>{title}</h2>
      {children}
    </section>
  );
}
