import { useCallback, useRef, useState } from "react";
import type { Job } from "./use_jobs";

export interface Selection {
  /** By id, with what was known of them when they were selected. */
  jobs: ReadonlyMap<string, Job>;
  /** Whether they are all jobs that match, not only those of pages that were shown. */
  isAll: boolean;
  toggle: (job: Job, range?: boolean) => void;
  togglePage: () => void;
  set: (jobs: Job[], isAll: boolean) => void;
  clear: () => void;
}

/** Return which jobs are selected. `shown` are those of the page; a range begins at the one that was clicked last. */
export function useSelection(shown: Job[]): Selection {
  const [jobs, setJobs] = useState<ReadonlyMap<string, Job>>(new Map());
  const [isAll, setIsAll] = useState(false);
  const last = useRef<string | null>(null);

  const set = useCallback((selected: Job[], all: boolean) => {
    setJobs(new Map(selected.map((job) => [job.job_id, job])));
    setIsAll(all);
  }, []);
  const toggle = (job: Job, range = false) => {
    const touched = range ? between(shown, last.current, job) : [job];
    setJobs(toggled(jobs, touched, !jobs.has(job.job_id)));
    setIsAll(false);
    last.current = job.job_id;
  };
  const togglePage = () => {
    setJobs(toggled(jobs, shown, !shown.every((job) => jobs.has(job.job_id))));
    setIsAll(false);
  };
  return { jobs, isAll, toggle, togglePage, set, clear: useCallback(() => set([], false), [set]) };
}

/** Return the jobs from one to the other, whichever comes first; only the second if the first is not shown. */
export function between(shown: Job[], from: string | null, to: Job): Job[] {
  const begin = shown.findIndex((job) => job.job_id === from);
  const end = shown.findIndex((job) => job.job_id === to.job_id);
  if (begin < 0 || end < 0) return [to];
  return shown.slice(Math.min(begin, end), Math.max(begin, end) + 1);
}

function toggled(before: ReadonlyMap<string, Job>, touched: Job[], selected: boolean): ReadonlyMap<string, Job> {
  const after = new Map(before);
  for (const job of touched) {
    if (selected) after.set(job.job_id, job);
    else after.delete(job.job_id);
  }
  return after;
}
