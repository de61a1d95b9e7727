import { Link } from "wouter";
import { nameOf } from "../../components/job_name";
import { StateBadge, stateOf } from "../../components/state";
import { Duration, Time } from "../../components/time";
import type { Job } from "../../live";
import { Actions } from "./actions";
import styles from "./job.module.css";

/** What a job is called, how it stands, and what can be done with it. */
export function Header({ job }: { job: Job }) {
  return (
    <header className={styles.header}>
      <div className={styles.line}>
        <StateBadge state={stateOf(job)} />
        {job.start_time && (
          <span>
            <Duration from={job.start_time} to={job.end_time} />
          </span>
        )}
        {job.project && <Link href={`/projects/${encodeURIComponent(job.project)}`}>{job.project}</Link>}
        <span className="muted">
          <Time at={job.submit_time} />
        </span>
        <code className="muted">{job.job_id}</code>
      </div>
      <h1 className={styles.name}>{nameOf(job)}</h1>
      <Actions job={job} />
    </header>
  );
}
