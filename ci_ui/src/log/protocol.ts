/** What the page and the worker that holds a log say to each other. */
import type { Row } from "./rows";

/** A log as the page knows it when it opens it. */
export interface LogOfJob {
  /** The URL of its bytes. */
  url: string;
  /** The URL of its index. */
  indexUrl: string;
  /** How many bytes it has; null while it may grow. */
  size: number | null;
  /** Its SHA-256; null while it may grow. */
  sha256: string | null;
}

/** What is asked of the worker, and what it answers. */
export interface Questions {
  /** Take bytes that the log has gained. */
  append: { ask: { offset: number; bytes: Uint8Array<ArrayBuffer> }; answer: null };
  rows: { ask: { first: number; count: number }; answer: Row[] };
  /** Let a line be shown as a whole from now on. */
  whole: { ask: { line: number }; answer: null };
  /** The bytes of lines, with their line feeds. */
  bytes: { ask: { first: number; last: number }; answer: ArrayBuffer };
  /** The lines with these bytes. */
  linesAt: { ask: { offsets: number[] }; answer: number[] };
  /** The line that shows why the part of the log between two bytes failed. */
  failure: { ask: { start: number; end: number }; answer: number };
  /** Read all of the log, however large, and compare its digest. */
  verify: { ask: null; answer: null };
}

export type Question = keyof Questions;

export type ToWorker =
  | { kind: "open"; log: LogOfJob }
  | { kind: "ended"; size: number; sha256: string | null }
  | { kind: "ask"; id: number; question: Question; ask: unknown };

/** How much of the log the worker knows. */
export interface Extent {
  lines: number;
  bytes: number;
  /** Nothing more will come. */
  complete: boolean;
}

/** What is known of the digest: of `done` bytes so far; in the end whether it is that of the job. */
export type DigestState =
  | { kind: "none" }
  | { kind: "reading"; done: number }
  | { kind: "same" }
  | { kind: "different" };

/** Why something failed, in a form that passes between threads. */
export interface Failed {
  name: string;
  message: string;
  status: number;
}

export type FromWorker =
  | { kind: "extent"; extent: Extent }
  | { kind: "digest"; digest: DigestState }
  | { kind: "failed"; failed: Failed }
  | { kind: "answer"; id: number; answer: unknown; failed: Failed | null };
