import { Link } from "wouter";
import { jobsText } from "#text/jobs";
import { nameOf } from "../../components/job_name";
import { ProjectLink } from "../../components/links";
import { StateBadge, stateOf } from "../../components/state";
import { Duration, Time } from "../../components/time";
import styles from "./jobs.module.css";
import type { Selection } from "./selection";
import type { Job } from "./use_jobs";

const SHOWN_LABELS = 3;

/** The jobs of a page: a table, and on a narrow screen a list of cards. */
export function JobsTable({ jobs, selection }: { jobs: Job[]; selection: Selection }) {
  const words = jobsText;
  const number = jobs.filter((job) => selection.jobs.has(job.job_id)).length;
  return (
    <table className={styles.table}>
      <thead>
        <tr>
          <th scope="col" className={styles.check}>
            <input
              type="checkbox"
              aria-label={words.selectPage}
              checked={number === jobs.length}
              ref={(element) => {
                if (element) element.indeterminate = number > 0 && number < jobs.length;
              }}
              onChange={selection.togglePage}
            />
          </th>
          <th scope="col">{words.state}</th>
          <th scope="col">{words.job}</th>
          <th scope="col">{words.project}</th>
          <th scope="col">{words.owner}</th>
          <th scope="col">{words.submitted}</th>
          <th scope="col">{words.duration}</th>
          <th scope="col">{words.tests}</th>
        </tr>
      </thead>
      <tbody>
        {jobs.map((job) => (
          <JobRow key={job.job_id} job={job} selection={selection} />
        ))}
      </tbody>
    </table>
  );
}

function JobRow({ job, selection }: { job: Job; selection: Selection }) {
  const name = nameOf(job);
  const isSelected = selection.jobs.has(job.job_id);
  return (
    <tr data-job={job.job_id} data-selected={isSelected || undefined}>
      <td className={styles.check}>
        <input
          type="checkbox"
          aria-label={jobsText.select(name.slice(0, 80))}
          checked={isSelected}
          onChange={(event) => selection.toggle(job, (event.nativeEvent as MouseEvent).shiftKey === true)}
        />
      </td>
      <td className={styles.state}>
        <StateBadge state={stateOf(job)} />
        {job.status === "queued" && job.reason && <div className={styles.reason}>{job.reason.message}</div>}
      </td>
      <td className={styles.name}>
        <Link href={`/jobs/${job.job_id}`} data-open title={name}>
          {name}
        </Link>
        <Labels job={job} />
      </td>
      <td className={styles.project}>
        <ProjectLink project={job.project} />
      </td>
      <td className={styles.owner}>{job.owner}</td>
      <td className={styles.submitted}>
        <Time at={job.submit_time} />
      </td>
      <td className={styles.duration}>{job.start_time && <Duration from={job.start_time} to={job.end_time} />}</td>
      <td className={styles.tests}>
        <Tests job={job} />
      </td>
    </tr>
  );
}

function Labels({ job }: { job: Job }) {
  const labels = Object.entries(job.labels).filter(([key]) => key !== "name");
  if (!labels.length) return null;
  const rest = labels.length - SHOWN_LABELS;
  return (
    <ul className={styles.labels} aria-label={jobsText.labels}>
      {labels.slice(0, SHOWN_LABELS).map(([key, value]) => (
        <li key={key}>
          <Link href={`/?label=${encodeURIComponent(`${key}:${value}`)}`}>
            {key}:{value}
          </Link>
        </li>
      ))}
      {rest > 0 && <li>+{rest}</li>}
    </ul>
  );
}

function Tests({ job }: { job: Job }) {
  if (!job.tests) return null;
  const { failed, errors, total, passed, flaky } = job.tests;
  const bad = failed + errors;
  return (
    <Link href={`/jobs/${job.job_id}?tab=tests`} className={bad ? styles.bad : styles.good}>
      {bad ? jobsText.testsFailed(bad, total) : jobsText.testsPassed(passed)}
      {flaky > 0 && `, ${jobsText.flaky(flaky)}`}
    </Link>
  );
}
