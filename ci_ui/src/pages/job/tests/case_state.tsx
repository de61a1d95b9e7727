import { testsText } from "#text/tests";
import type { Case } from "./cases";
import styles from "./tests.module.css";

const STATES = { passed: "succeeded", failed: "failed", error: "errored", skipped: "queued" } as const;
const MARKS = { passed: "✓", failed: "✗", error: "!", skipped: "–" } as const;

/** How a test ended, and what is new about it: by mark, word and colour. */
export function CaseState({ test }: { test: Pick<Case, "status" | "flaky"> & Partial<Pick<Case, "change">> }) {
  return (
    <>
      <span className="state" data-state={STATES[test.status]}>
        <span aria-hidden="true">{MARKS[test.status]}</span> {testsText.outcomes[test.status]}
      </span>
      {test.flaky && <span className={styles.tag}>{testsText.flaky}</span>}
      {test.change && <span className={styles.tag}>{testsText.changes[test.change]}</span>}
    </>
  );
}
