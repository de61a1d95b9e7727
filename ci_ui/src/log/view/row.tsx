import { memo } from "react";
import { logText } from "#text/log";
import type { Row, Run } from "../rows";
import { LineTime } from "../times/line_time";
import { paintOf } from "./paint";
import styles from "./row.module.css";

interface Props {
  line: number;
  /** Null while it is being read. */
  row: Row | null;
  isSelected: boolean;
  /** When it was written, in milliseconds; null where that is not known; undefined where times are not shown. */
  time: number | null | undefined;
  /** The path of this view, without a fragment. */
  path: string;
  showWhole(line: number): void;
}

/** A line of the log: its number, which is a link and is never copied, and its text. */
export const LineRow = memo(function LineRow({ line, row, isSelected, time, path, showWhole }: Props) {
  return (
    <div className={styles.row} data-line={line} data-selected={isSelected || undefined}>
      {/* biome-ignore lint/a11y/useAnchorContent: the number is made by a style, so that it is never copied */}
      <a
        className={styles.number}
        href={`${path}#L${line}`}
        tabIndex={-1}
        draggable={false}
        data-number={line}
        aria-label={logText.line(line)}
      />
      {time !== undefined && <LineTime at={time} />}
      <div className={styles.clip}>
        <span className={styles.text} data-text>
          {row?.runs.map((run, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: runs have no identity but their order
            <RunText key={index} run={run} />
          ))}
        </span>
        {row && row.hiddenBytes > 0 && (
          <button type="button" className={styles.cut} onClick={() => showWhole(line)}>
            {logText.showWhole(row.hiddenBytes)}
          </button>
        )}
      </div>
    </div>
  );
});

function RunText({ run }: { run: Run }) {
  const { className, style } = paintOf(run.style);
  if (run.style.link) {
    return (
      <a href={run.style.link} target="_blank" rel="noopener noreferrer" className={className} style={style}>
        {run.text}
      </a>
    );
  }
  if (!className && !style) return run.text;
  return (
    <span className={className} style={style}>
      {run.text}
    </span>
  );
}
