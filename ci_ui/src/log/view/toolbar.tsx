import { type ReactNode, useState } from "react";
import { logText } from "#text/log";
import type { LoggedAttempt } from "../attempt";
import type { SearchState } from "../search/use_search";
import { showTimes, useTimesShown } from "../times/use_times";
import type { OpenLog } from "../use_log";
import type { Target } from "../use_target";
import { DigestMark } from "./digest_mark";
import { MoreMenu } from "./more_menu";
import { type LineRange, rangeOfHash } from "./target";
import styles from "./toolbar.module.css";
import type { Viewer } from "./viewer";

interface Props {
  attempt: LoggedAttempt;
  viewer: Viewer;
  target: Target;
  log: OpenLog;
  search: SearchState;
  find: ReactNode;
  position: LineRange;
  goToLine(line: number): void;
  /** Folds or unfolds all steps; null where there is nothing to fold. */
  fold: ((all: boolean) => void) | null;
}

/** What can be done with a log as a whole, and with the selected lines. */
export function Toolbar({ attempt, viewer, target, log, search, find, position, goToLine, fold }: Props) {
  const { extent } = log;
  const hasTimes = useTimesShown();
  return (
    <div className={styles.bar} role="toolbar" aria-label={logText.tools}>
      {find}
      <span className={styles.position}>{logText.lines(position.first, position.last, extent?.lines ?? 0)}</span>
      <button type="button" onClick={() => goToLine(1)}>
        {logText.top}
      </button>
      <button type="button" onClick={() => viewer.toEnd()}>
        {logText.end}
      </button>
      {!extent?.complete && (
        <button
          type="button"
          aria-pressed={viewer.follows}
          title={logText.followHint}
          onClick={() => (viewer.follows ? viewer.goTo(viewer.place) : viewer.toEnd())}
        >
          {logText.follow}
        </button>
      )}
      <button
        type="button"
        aria-pressed={viewer.wraps}
        title={logText.wrapHint}
        onClick={() => viewer.setWraps(!viewer.wraps)}
      >
        {logText.wrap}
      </button>
      <button type="button" aria-pressed={hasTimes} title={logText.timesHint} onClick={() => showTimes(!hasTimes)}>
        {logText.times}
      </button>
      <GoTo target={target} goToLine={goToLine} />
      <DigestMark log={log} size={attempt.log.size} />
      <MoreMenu {...{ attempt, target, log, search, fold }} />
    </div>
  );
}

/** Leads to a line, or to a range, which it selects, too: the way to a link without a mouse. */
function GoTo({ target, goToLine }: { target: Target; goToLine(line: number): void }) {
  const [typed, setTyped] = useState("");
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        const range = rangeOfHash(`#L${typed.replace(/[\s,#L]/gi, "")}`);
        if (!range) return;
        target.setRange(range);
        goToLine(range.first);
      }}
    >
      <input
        className={styles.goTo}
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        placeholder={logText.goTo}
        aria-label={logText.goTo}
        title={logText.goToHint}
        inputMode="numeric"
      />
    </form>
  );
}
