import type { Schemas } from "../api/client";

export type Job = Schemas["JobView"];

/** How much of a job's log is known: a number of bytes of one attempt. */
export interface Position {
  attempt: number;
  offset: number;
}

/** A job that a tab shows. Without a position, its log is not shown. */
export interface Watch {
  jobId: string;
  position: Position | null;
}

/** Jobs whose changes a tab shows. What is left out does not narrow them; a job needs all of the labels. */
export interface Filters {
  project?: string | undefined;
  type?: string | undefined;
  /** `key:value` */
  label?: string[] | undefined;
}

/** How news of a job arrive. */
export type Mode =
  | "connecting"
  | "live"
  /** Asked for every few seconds: other tabs have the streams that a browser may have open. */
  | "polling_many"
  /** Asked for every few seconds: something between page and server holds streams back. */
  | "polling_held_back"
  /** Not at all, until there is a connection again. */
  | "waiting";

/** What is true of all tabs. */
export type Reach = "reachable" | "held_back" | "unreachable" | "signed_out";

/** A change of a job, for lists. After `reset`, a list has to be read again. */
export type Change =
  | { kind: "reset" }
  | { kind: "job"; event: string; job: Schemas["JobLineView"] }
  | { kind: "deleted"; jobId: string };

/** What a tab tells the hub. `wants` is always all that it wants, so that the hub may forget tabs. */
export type ToHub =
  | {
      kind: "wants";
      visible: boolean;
      online: boolean;
      /** The reader has just turned to this tab: its jobs come before those of others. */
      turned: boolean;
      watches: Watch[];
      changes: Filters[];
    }
  | { kind: "signed_in" }
  | { kind: "bye" };

/** What the hub tells a tab. */
export type FromHub =
  | { kind: "chunk"; jobId: string; attempt: number; offset: number; bytes: Uint8Array }
  | { kind: "position"; jobId: string; position: Position }
  | { kind: "job"; jobId: string; job: Job }
  | { kind: "gone"; jobId: string }
  | { kind: "mode"; jobId: string; mode: Mode }
  | { kind: "reach"; reach: Reach }
  | { kind: "change"; change: Change };

export type AboutJob = Extract<FromHub, { jobId: string }>;

/** The end of an attempt's log: its length, and its digest where it has one. */
export interface End {
  bytes: number;
  sha256: string;
}

/** Return the end of an attempt's log as the job tells it, or null while the attempt has not ended. */
export function endOf(job: Job, attempt: number): End | null {
  const ended = attempt < job.attempt ? job.attempts.find((each) => each.attempt === attempt) : job;
  if (!ended || (ended === job && job.status !== "completed")) return null;
  return { bytes: ended.log_bytes ?? 0, sha256: ended.log_sha256 ?? "" };
}

/** Return what the header Last-Event-ID says for a position. */
export function cursorOf({ attempt, offset }: Position): string {
  return attempt === 1 ? `${offset}` : `${attempt}-${offset}`;
}

/** Return the position that an `id:` of a job's stream means. */
export function positionOf(id: string): Position {
  const dash = id.indexOf("-");
  if (dash < 0) return { attempt: 1, offset: Number(id) };
  return { attempt: Number(id.slice(0, dash)), offset: Number(id.slice(dash + 1)) };
}

/** Return whether a list with these filters may show the job. */
export function matches(
  filters: Filters,
  job: { type: string; project: string | null; labels: Record<string, string> },
) {
  if (filters.project && filters.project !== job.project) return false;
  if (filters.type && filters.type !== job.type) return false;
  return (filters.label ?? []).every((label) => {
    const colon = label.indexOf(":");
    return job.labels[label.slice(0, colon)] === label.slice(colon + 1);
  });
}
