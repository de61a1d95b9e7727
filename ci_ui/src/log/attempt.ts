import { jobUrl, type Schemas } from "../api/client";
import type { Followed } from "./use_log";

export type Job = Schemas["JobView"];
export type Step = Schemas["StepView"];

/** An attempt of a job, as far as its log is concerned. */
export interface LoggedAttempt {
  log: Followed;
  steps: readonly Step[];
  failed: boolean;
  /** Where in the log the job itself says that something is wrong; null if it does not. */
  errorOffset: number | null;
}

/** Return what a job says of the log of an attempt; of the present one by default. */
export function attemptOf(job: Job, number?: number): LoggedAttempt {
  const earlier = job.attempts.find((each) => each.attempt === number);
  const attempt = earlier?.attempt ?? job.attempt;
  const hasEnded = earlier !== undefined || job.status === "completed";
  const { log_bytes, log_sha256, steps, annotations, conclusion } = earlier ?? job;
  const url = `${jobUrl(job.job_id, "/log")}?attempt=${attempt}`;
  const error = annotations.find((each) => each.level === "error" && each.log_offset != null);
  return {
    log: {
      jobId: job.job_id,
      attempt,
      url,
      indexUrl: `${jobUrl(job.job_id, "/log/index")}?attempt=${attempt}`,
      size: hasEnded ? (log_bytes ?? 0) : null,
      sha256: hasEnded ? log_sha256 : null,
    },
    steps,
    failed: conclusion !== null && conclusion !== "succeeded" && conclusion !== "cancelled",
    errorOffset: error?.log_offset ?? null,
  };
}

/** Return the part of the log that failed: that of the first failed step, or all of it. */
export function failedPart(attempt: LoggedAttempt, bytes: number): { start: number; end: number } {
  const { steps } = attempt;
  const at = steps.findIndex((step) => step.status === "failed");
  if (at === -1) return { start: 0, end: bytes };
  return { start: steps[at]?.log_offset ?? 0, end: steps[at + 1]?.log_offset ?? bytes };
}
