import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";
import { Link, useLocation } from "wouter";
import { commonText } from "#text/common";
import { compareText } from "#text/compare";
import { api, unwrap } from "../../api/client";
import { stateOf } from "../../components/state";
import styles from "./compare.module.css";
import type { Job } from "./data";

interface Props {
  before: string;
  after: string;
  /** Whose jobs can be chosen; null for all. */
  project: string | null;
}

const MOST = 100;
const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A form to choose two jobs: of the newest of a project, or of all. */
export function Chooser({ before, after, project }: Props) {
  const [, navigate] = useLocation();
  const [chosen, setChosen] = useState({ before, after });
  const jobs = useQuery({
    queryKey: ["jobs", "newest", project],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/jobs", { signal, params: { query: { limit: MOST, ...(project === null ? {} : { project }) } } }),
      ),
    staleTime: 30_000,
  });
  const path = (one: string, other: string) =>
    `/compare?${new URLSearchParams({ a: one, b: other, ...(project === null ? {} : { project }) })}`;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (chosen.before && chosen.after) navigate(path(chosen.before, chosen.after));
  };
  return (
    <form className={styles.chooser} onSubmit={submit} aria-label={compareText.choose}>
      <Choice
        name={compareText.jobBefore}
        jobs={jobs.data ?? []}
        value={chosen.before}
        onChange={(id) => setChosen({ ...chosen, before: id })}
      />
      <Choice
        name={compareText.jobAfter}
        jobs={jobs.data ?? []}
        value={chosen.after}
        onChange={(id) => setChosen({ ...chosen, after: id })}
      />
      <div className={styles.actions}>
        <button type="submit" className="primary" disabled={!chosen.before || !chosen.after}>
          {compareText.show}
        </button>
        {before && after && <Link href={path(after, before)}>{compareText.swap}</Link>}
      </div>
      {jobs.isError && <p role="alert">{jobs.error.message}</p>}
      {jobs.data?.length === 0 && <p>{compareText.noJobs}</p>}
    </form>
  );
}

interface ChoiceProps {
  name: string;
  jobs: Job[];
  value: string;
  onChange: (id: string) => void;
}

function Choice({ name, jobs, value, onChange }: ChoiceProps) {
  const id = useId();
  const isOld = value !== "" && !jobs.some((job) => job.job_id === value);
  return (
    <div className={styles.choice}>
      <label htmlFor={id}>{name}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.target.value)}>
        <option value="">{compareText.none}</option>
        {isOld && <option value={value}>{value}</option>}
        {jobs.map((job) => (
          <option key={job.job_id} value={job.job_id}>
            {optionOf(job)}
          </option>
        ))}
      </select>
    </div>
  );
}

function optionOf(job: Job): string {
  const state = commonText.states[stateOf(job)];
  const project = job.project ?? commonText.noProject;
  return compareText.option(job.job_id.slice(-8), state, project, when.format(new Date(job.submit_time)));
}
