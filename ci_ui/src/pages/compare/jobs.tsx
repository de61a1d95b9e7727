import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { compareText } from "#text/compare";
import { JobLink, ProjectLink } from "../../components/links";
import { Section } from "../../components/section";
import { StateBadge, stateOf } from "../../components/state";
import { Duration, Time } from "../../components/time";
import { Wide } from "../../components/wide";
import styles from "./compare.module.css";
import { hasEnded, type Job, type Record } from "./data";
import type { Pair } from "./pair";

interface Props {
  jobs: UseQueryResult<Pair<Job>>;
  records: UseQueryResult<Pair<Record>>;
}

/** The two jobs, and whether they did the same. */
export function JobsSection({ jobs, records }: Props) {
  return (
    <Section title={compareText.jobs} query={jobs}>
      {(pair) => (
        <>
          <Notes jobs={pair} records={records.data} />
          <JobsTable jobs={pair} />
        </>
      )}
    </Section>
  );
}

function Notes({ jobs, records }: { jobs: Pair<Job>; records: Pair<Record> | undefined }) {
  const words = compareText;
  if (jobs.before.job_id === jobs.after.job_id) return <p>{words.sameJob}</p>;
  if (!hasEnded(jobs.before) || !hasEnded(jobs.after)) return <p>{words.unfinished}</p>;
  if (records && records.before.run.fingerprint === records.after.run.fingerprint)
    return <p>{words.sameFingerprint}</p>;
  return null;
}

function JobsTable({ jobs }: { jobs: Pair<Job> }) {
  const words = compareText;
  return (
    <Wide label={words.jobs}>
      <table className={styles.sides}>
        <thead>
          <tr>
            <td />
            <th scope="col">{words.before}</th>
            <th scope="col">{words.after}</th>
          </tr>
        </thead>
        <tbody>
          <Row name={words.job} jobs={jobs} show={(job) => <JobLink id={job.job_id} />} />
          <Row name={words.state} jobs={jobs} show={(job) => <StateBadge state={stateOf(job)} />} />
          <Row name={words.project} jobs={jobs} show={(job) => <ProjectLink project={job.project} />} />
          <Row name={words.submitted} jobs={jobs} show={(job) => <Time at={job.submit_time} />} />
          <Row
            name={words.duration}
            jobs={jobs}
            show={(job) => job.start_time && <Duration from={job.start_time} to={job.end_time} />}
          />
          <Row name={words.image} jobs={jobs} show={(job) => job.image} />
          <Row
            name={words.tests}
            jobs={jobs}
            show={({ tests }) => tests && words.testCounts(tests.failed + tests.errors, tests.total)}
          />
        </tbody>
      </table>
    </Wide>
  );
}

function Row({ name, jobs, show }: { name: string; jobs: Pair<Job>; show: (job: Job) => ReactNode }) {
  return (
    <tr>
      <th scope="row">{name}</th>
      <td className={styles.value}>{show(jobs.before)}</td>
      <td className={styles.value}>{show(jobs.after)}</td>
    </tr>
  );
}
