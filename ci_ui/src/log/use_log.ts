import { useCallback, useEffect, useRef, useState } from "react";
import { Problem } from "../api/problem";
import { followLog } from "../live";
import { LogClient } from "./client";
import type { DigestState, Extent, LogOfJob } from "./protocol";
import type { Row } from "./rows";

const KEPT_ROWS = 3_000;
/** So many lines are read before they come into view, in the direction in which the view moves. */
const AHEAD_ROWS = 600;
const AGAIN_MS = 1_000;

/** What the page knows of the log of an attempt. */
export interface OpenLog {
  /** Null until the worker has told how much there is. */
  extent: Extent | null;
  digest: DigestState;
  /** Why the log cannot be read. */
  error: Error | null;
  client: LogClient | null;
  /** The row of a line, if it has been read. */
  row(line: number): Row | null;
  /** Read these lines, unless they have been; what was wanted before and is not yet being read is forgotten. */
  want(first: number, last: number): void;
  /** Forget what was read of a line. */
  forget(line: number): void;
  retry(): void;
}

export interface Followed extends LogOfJob {
  jobId: string;
  attempt: number;
}

/**
 * Open a log, and follow it while it grows. Its worker ends with the component.
 *
 * `follows` says whether the newest lines are shown: then they are read before the view is told of them, so that it never
 * shows an empty end.
 */
export function useLog(log: Followed, follows: () => number): OpenLog {
  const [extent, setExtent] = useState<Extent | null>(null);
  const [digest, setDigest] = useState<DigestState>({ kind: "none" });
  const [error, setError] = useState<Error | null>(null);
  const [client, setClient] = useState<LogClient | null>(null);
  const [, setVersion] = useState(0);
  const [tries, setTries] = useState(0);
  const rows = useRef(new Map<number, Row>());
  const reading = useRef<{ running: boolean; next: [number, number] | null }>({ running: false, next: null });
  /** Where the view began when lines were wanted last, and whether it moves up (-1) or down (1). */
  const moved = useRef({ from: Number.NEGATIVE_INFINITY, direction: 0 });
  const { url, indexUrl, jobId, attempt, size, sha256 } = log;
  const hasEnded = size !== null;
  const opened = useRef(log);
  opened.current = log;

  // biome-ignore lint/correctness/useExhaustiveDependencies: a log is opened once, and told of its end by another effect
  useEffect(() => {
    rows.current.clear();
    reading.current = { running: false, next: null };
    moved.current = { from: Number.NEGATIVE_INFINITY, direction: 0 };
    setExtent(null);
    setError(null);
    setDigest({ kind: "none" });
    const arrivals = new Arrivals(rows.current, follows, setExtent);
    const { size: knownSize, sha256: knownDigest } = opened.current;
    const created = new LogClient(
      { url, indexUrl, size: knownSize, sha256: knownDigest },
      { extent: (now) => void arrivals.take(created, now), digest: setDigest, failed: setError },
    );
    setClient(created);
    return () => {
      arrivals.close();
      created.close();
      setClient(null);
    };
  }, [url, indexUrl, tries]);

  const isOpen = extent !== null;
  useEffect(() => {
    if (!client || !isOpen || hasEnded) return;
    // From a byte that is there, since a range that begins at the end is refused, which browsers report as an error.
    const from = Math.max(0, (extentOf.current?.bytes ?? 0) - 1);
    return followLog(
      jobId,
      from,
      (offset, bytes) => client.append(offset, bytes).catch(setError),
      (state) => {
        if (state.kind === "ended") client.end(state.bytes, state.sha256 || null);
        else if (state.kind === "gone") setError(new Problem(404, null));
      },
      attempt,
    );
  }, [client, isOpen, hasEnded, jobId, attempt]);

  const extentOf = useRef(extent);
  extentOf.current = extent;
  const isComplete = extent?.complete ?? false;
  useEffect(() => {
    if (client && isOpen && !isComplete && size !== null) client.end(size, sha256);
  }, [client, isOpen, isComplete, size, sha256]);

  const lines = useRef(0);
  lines.current = extent?.lines ?? 0;
  const want = useCallback(
    (first: number, last: number): void => {
      if (!client) return;
      const by = first - moved.current.from;
      // After a leap the view may move on in any direction.
      if (by !== 0) moved.current = { from: first, direction: Math.abs(by) > AHEAD_ROWS ? 0 : Math.sign(by) };
      const missing = missingRows(rows.current, first, last, moved.current.direction, lines.current);
      if (!missing) return;
      reading.current.next = missing;
      if (reading.current.running) return;
      const state = reading.current;
      state.running = true;
      void (async () => {
        while (state.next) {
          const [start, end] = state.next;
          state.next = null;
          try {
            keep(rows.current, await client.ask("rows", { first: start, count: end - start + 1 }));
            setError(null);
          } catch (failure) {
            setError(failure as Error);
            await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
          }
          setVersion((version) => version + 1);
        }
        state.running = false;
      })();
    },
    [client],
  );
  return {
    extent,
    digest,
    error,
    client,
    want,
    row: useCallback((line: number) => rows.current.get(line) ?? null, []),
    forget: useCallback((line: number) => {
      rows.current.delete(line);
      setVersion((version) => version + 1);
    }, []),
    retry: useCallback(() => setTries((count) => count + 1), []),
  };
}

/** Return which lines to read so that those from `first` to `last` are there, and those that come into view next. */
export function missingRows(
  rows: ReadonlyMap<number, Row>,
  first: number,
  last: number,
  direction: number,
  lines: number,
): [number, number] | null {
  const soon = Math.floor(AHEAD_ROWS / 2);
  let start = Math.max(1, direction < 0 ? first - soon : first);
  let end = Math.min(lines, direction > 0 ? last + soon : last);
  while (start <= end && rows.has(start)) start += 1;
  while (end >= start && rows.has(end)) end -= 1;
  if (start > end) return null;
  if (direction > 0) end = Math.min(lines, Math.max(end, last + AHEAD_ROWS));
  if (direction < 0) start = Math.max(1, Math.min(start, first - AHEAD_ROWS));
  return [start, end];
}

function keep(rows: Map<number, Row>, more: readonly Row[]): void {
  for (const row of more) {
    rows.delete(row.line);
    rows.set(row.line, row);
  }
  for (const line of rows.keys()) {
    if (rows.size <= KEPT_ROWS) break;
    rows.delete(line);
  }
}

/** Tells of the log's growth: each time only once the rows are there that will be shown. */
class Arrivals {
  private latest: Extent | null = null;
  private running = false;
  private isClosed = false;
  private told: Extent | null = null;

  constructor(
    private readonly rows: Map<number, Row>,
    private readonly follows: () => number,
    private readonly tell: (extent: Extent) => void,
  ) {}

  async take(client: LogClient, extent: Extent): Promise<void> {
    this.latest = extent;
    if (this.running) return;
    this.running = true;
    while (this.latest && !this.isClosed) {
      const now: Extent = this.latest;
      this.latest = null;
      await this.arrive(client, now);
    }
    this.running = false;
  }

  close(): void {
    this.isClosed = true;
  }

  private async arrive(client: LogClient, now: Extent): Promise<void> {
    const count = this.follows();
    const changed = this.told?.lines ?? 0;
    if (this.told?.bytes !== now.bytes && (count > 0 || changed > 0)) {
      // The line that was the last one may have grown.
      const first = count > 0 ? Math.max(1, now.lines - count + 1) : changed;
      const length = count > 0 ? now.lines - first + 1 : 1;
      const read = await client.ask("rows", { first, count: length }).catch(() => []);
      if (this.isClosed) return;
      this.rows.delete(changed);
      keep(this.rows, read);
    }
    this.told = now;
    if (!this.isClosed) this.tell(now);
  }
}
