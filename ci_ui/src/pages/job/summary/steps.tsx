import { Link } from "wouter";
import { jobText } from "#text/job";
import type { Schemas } from "../../../api/client";
import { Duration } from "../../../components/time";
import type { Job } from "../../../live";
import { logPath } from "../links";
import styles from "./summary.module.css";

const STATES = { running: "running", succeeded: "succeeded", failed: "failed", skipped: "queued" } as const;

/** The steps that have begun or were left out. */
export function Steps({ job }: { job: Job }) {
  if (!job.steps.length) return null;
  return (
    <section>
      <h2>{jobText.steps}</h2>
      <table className={styles.steps}>
        <thead>
          <tr>
            <th scope="col">{jobText.step}</th>
            <th scope="col">{jobText.state}</th>
            <th scope="col">{jobText.duration}</th>
          </tr>
        </thead>
        <tbody>
          {job.steps.map((step, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: steps may have the same name, and never move.
            <tr key={index}>
              <th scope="row">
                <Link href={logPath(job.job_id, step.log_offset)}>{step.name}</Link>
              </th>
              <td>
                <StepState step={step} />
              </td>
              <td>{step.status === "skipped" ? null : <Duration from={step.start_time} to={step.end_time} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function StepState({ step }: { step: Schemas["StepView"] }) {
  return (
    <>
      <span className="state" data-state={STATES[step.status]}>
        {jobText.stepStates[step.status]}
      </span>
      {step.exit_code ? <span className="muted"> {jobText.exited(step.exit_code)}</span> : null}
      {step.reason && <div className="muted">{step.reason}</div>}
    </>
  );
}
