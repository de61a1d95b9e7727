import { api, unwrap } from "../../api/client";
import { isTemporary } from "../../api/problem";
import { may, type Session } from "../../app/session";
import type { Job } from "./use_jobs";

export type Act = "cancel" | "retry" | "delete";

export interface BatchFailure {
  job: Job;
  message: string;
}

const AT_ONCE = 4;
const TRIES = 5;
const PAUSE_MS = 1_000;

/** Return those of the jobs with which this can be done, by their state. */
export function suitable(act: Act, jobs: Iterable<Job>): Job[] {
  return [...jobs].filter((job) => (job.status === "completed") === (act !== "cancel"));
}

/** Return those of the jobs that the reader may change. */
export function allowed(session: Session | undefined, jobs: Iterable<Job>): Job[] {
  return [...jobs].filter((job) => may(session, "jobs:write", job.project));
}

/** Send the request for one job. Throws Problem and Unreachable. */
export async function perform(act: Act, jobId: string): Promise<void> {
  const params = { path: { job_id: jobId } };
  if (act === "cancel") await unwrap(api.POST("/jobs/{job_id}/cancel", { params }));
  else if (act === "delete") await unwrap(api.DELETE("/jobs/{job_id}", { params }));
  else await unwrap(api.POST("/jobs/{job_id}/retry", { params }));
}

/**
 * Do the same with many jobs, a few at a time. What may succeed later is tried again; what is refused is returned, and
 * does not keep the others from being done. `onProgress` is told how many are through.
 */
export async function performAll(
  jobs: Job[],
  act: (job: Job) => Promise<void>,
  signal: AbortSignal,
  onProgress: (done: number) => void,
  pauseMs = PAUSE_MS,
): Promise<BatchFailure[]> {
  const failures: BatchFailure[] = [];
  const waiting = jobs.values();
  let done = 0;
  const work = async () => {
    for (const job of waiting) {
      if (signal.aborted) return;
      try {
        await persistently(() => act(job), signal, pauseMs);
      } catch (error) {
        failures.push({ job, message: error instanceof Error ? error.message : String(error) });
      }
      done += 1;
      onProgress(done);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return failures;
}

async function persistently(act: () => Promise<void>, signal: AbortSignal, pauseMs: number): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await act();
      return;
    } catch (error) {
      if (attempt === TRIES || signal.aborted || !isTemporary(error)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs * 2 ** (attempt - 1)));
  }
}
