import type { Query } from "./query";

/** More hits than this are not kept: the search ends, and says so. */
export const MOST_HITS = 1_000_000;

export type ToSearch =
  /** Search the log up to `size` bytes. With `keepsLines`, the lines with hits are wanted as a file. */
  | { kind: "search"; url: string; size: number; isComplete: boolean; query: Query; keepsLines: boolean }
  /** The log has grown, or is complete. */
  | { kind: "grown"; size: number; isComplete: boolean };

export interface Progress {
  /** Bytes that have been searched. */
  done: number;
  size: number;
  /** Lines with hits, each as often as it has hits, that have been found since the last message. */
  hits: Float64Array<ArrayBuffer>;
  /** The search has ended for now: all bytes have been searched, or there are MOST_HITS. */
  isOver: boolean;
  /** With `keepsLines`, all lines with hits, at the end. */
  lines: Blob | null;
}

export type FromSearch = { kind: "progress"; progress: Progress } | { kind: "failed"; message: string };
