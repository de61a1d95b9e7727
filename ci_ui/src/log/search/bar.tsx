import type { RefObject } from "react";
import { logText } from "#text/log";
import styles from "./bar.module.css";
import { MOST_HITS } from "./protocol";
import type { SearchState } from "./use_search";

interface Props {
  search: SearchState;
  input: RefObject<HTMLInputElement | null>;
  leave(): void;
}

/** What is searched for, which hit of how many is shown, and the way to the next one. */
export function SearchBar({ search, input, leave }: Props) {
  const { query, setQuery, step } = search;
  return (
    <search className={styles.bar}>
      <input
        ref={input}
        type="search"
        value={query.text}
        placeholder={logText.find}
        aria-label={logText.find}
        aria-invalid={search.fault !== null}
        title={logText.findHint}
        spellCheck={false}
        onChange={(event) => setQuery({ ...query, text: event.target.value })}
        onKeyDown={(event) => {
          if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
          else if (event.key === "Escape") {
            setQuery({ ...query, text: "" });
            leave();
          } else return;
          event.preventDefault();
        }}
      />
      <button
        type="button"
        aria-pressed={query.matchesCase}
        aria-label={logText.matchCase}
        title={logText.matchCase}
        onClick={() => setQuery({ ...query, matchesCase: !query.matchesCase })}
      >
        Aa
      </button>
      <button
        type="button"
        aria-pressed={query.isExpression}
        aria-label={logText.expression}
        title={logText.expression}
        onClick={() => setQuery({ ...query, isExpression: !query.isExpression })}
      >
        .*
      </button>
      {query.text !== "" && (
        <>
          <button type="button" aria-label={logText.previous} title={logText.previous} onClick={() => step(-1)}>
            ↑
          </button>
          <button type="button" aria-label={logText.next} title={logText.next} onClick={() => step(1)}>
            ↓
          </button>
          <span className={styles.count} role="status">
            {countOf(search)}
          </span>
        </>
      )}
    </search>
  );
}

function countOf({ fault, hits, current, isOver, isLost, done }: SearchState): string {
  if (isLost) return logText.notSearched;
  if (fault !== null) return logText.badExpression;
  if (isOver && hits.count === 0) return logText.noHit;
  const count = logText.hits(current === null ? 0 : current + 1, hits.count, hits.count >= MOST_HITS);
  return isOver ? count : `${count} (${Math.floor(done * 100)}%)`;
}

/** Marks on the scroll bar where hits are. */
export function HitMarks({ search, lines }: { search: SearchState; lines: number }) {
  const marks = search.query.text === "" ? [] : search.hits.marks(lines);
  if (marks.length === 0) return null;
  const path = marks.map((at) => `M0 ${(at * 1_000).toFixed(1)}h14`).join("");
  return (
    <svg className={styles.marks} viewBox="0 0 14 1000" preserveAspectRatio="none" aria-hidden="true">
      <path d={path} vectorEffect="non-scaling-stroke" />
    </svg>
  );
}
