import { logText } from "#text/log";
import type { OpenLog } from "../use_log";
import styles from "./toolbar.module.css";

/** Says whether what is shown is what the job has written, by its digest; of a large log only if it is asked to. */
export function DigestMark({ log, size }: { log: OpenLog; size: number | null }) {
  const { digest, extent, client } = log;
  if (digest.kind === "same" || digest.kind === "different") {
    return (
      <span
        className={styles.digest}
        data-digest={digest.kind}
        title={digest.kind === "same" ? logText.sameHint : logText.differentHint}
      >
        {digest.kind === "same" ? `✓ ${logText.same}` : `✗ ${logText.different}`}
      </span>
    );
  }
  if (digest.kind === "reading") {
    return <span className={styles.digest}>{logText.verifying(digest.done, size ?? extent?.bytes ?? 0)}</span>;
  }
  if (!extent?.complete || size === null) return null;
  return (
    <button type="button" title={logText.verifyHint} onClick={() => void client?.ask("verify", null).catch(() => {})}>
      {logText.verify}
    </button>
  );
}
