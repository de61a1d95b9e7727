import { Link } from "wouter";
import { jobText } from "#text/job";
import { reasonsText } from "#text/reasons";
import { stateOf } from "../../../components/state";
import { Time } from "../../../components/time";
import type { Job } from "../../../live";
import { logPath } from "../links";
import styles from "./summary.module.css";

/** How the job stands, and why: in words, with what ends a wait or how to go on. */
export function Verdict({ job }: { job: Job }) {
  const state = stateOf(job);
  const meaning = job.reason ? reasonsText[job.reason.code] : undefined;
  return (
    <section className={styles.verdict} data-state={state}>
      <h2>{jobText.verdict}</h2>
      <p>
        <strong>{jobText.verdicts[state]}</strong> {runningStep(job)}{" "}
        {job.reason && <Sentence text={job.reason.message} />}
      </p>
      {meaning && <p className="muted">{meaning}</p>}
      {job.status === "queued" && job.not_before && (
        <p>
          {jobText.notBefore} <Time at={job.not_before} />
        </p>
      )}
      {job.cancel_requested_time && job.status !== "completed" && <p>{jobText.cancelRequested}</p>}
      {job.error && job.error !== job.reason?.message && <pre className={styles.error}>{job.error}</pre>}
      {job.log_bytes !== null && job.type === "container" && (
        <p>
          <Link href={logPath(job.job_id)}>{state === "succeeded" ? jobText.logWhole : jobText.logEnd}</Link>
        </p>
      )}
    </section>
  );
}

/** What is being done now, so that a long installation is not taken for a page that stands still. */
function runningStep(job: Job): string {
  const step = job.steps.findLast(({ status }) => status === "running");
  if (job.status !== "running" || !step) return "";
  return step.name === "setup" || step.name === "install" ? jobText.installs(step.name) : jobText.runsStep(step.name);
}

/** A message of the server, which begins with a small letter, as a sentence. */
function Sentence({ text: message }: { text: string }) {
  const sentence = message.charAt(0).toUpperCase() + message.slice(1);
  return <span>{/[.!?…)]$/.test(sentence) ? sentence : `${sentence}.`}</span>;
}
