import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { jobsText } from "#text/jobs";
import { useSession } from "../../app/session";
import { Confirm, Dialog } from "../../components/dialog";
import { nameOf } from "../../components/job_name";
import { type Act, allowed, type BatchFailure, perform, performAll, suitable } from "./batch";
import type { Filters } from "./filters";
import styles from "./jobs.module.css";
import type { Selection } from "./selection";
import { allMatching, type Job } from "./use_jobs";

const ACTS: Act[] = ["cancel", "retry", "delete"];

interface Props {
  filters: Filters;
  selection: Selection;
  /** What the reader is asked to confirm. */
  asked: Act | null;
  ask: (act: Act | null) => void;
}

interface Running {
  act: Act;
  all: number;
  done: number;
}

interface Ended {
  act: Act;
  done: number;
  failures: BatchFailure[];
}

/** What can be done with the selected jobs, how far it is, and what became of it. */
export function BatchBar({ filters, selection, asked, ask }: Props) {
  const queries = useQueryClient();
  const session = useSession().data;
  const [running, setRunning] = useState<Running | null>(null);
  const [ended, setEnded] = useState<Ended | null>(null);
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);

  const start = async (act: Act, jobs: Job[]) => {
    ask(null);
    stop.current = new AbortController();
    let through = 0;
    setEnded(null);
    setRunning({ act, all: jobs.length, done: 0 });
    const failures = await performAll(
      jobs,
      (job) => perform(act, job.job_id),
      stop.current.signal,
      (done) => {
        through = done;
        setRunning({ act, all: jobs.length, done });
      },
    );
    setRunning(null);
    setEnded({ act, done: through - failures.length, failures });
    selection.set(
      failures.map(({ job }) => job),
      false,
    );
    await queries.invalidateQueries({ queryKey: ["jobs"] });
  };
  const number = selection.jobs.size;
  const mayChange = allowed(session, selection.jobs.values()).length > 0;
  return (
    <>
      {running && (
        <div className={styles.batch}>
          <progress max={running.all} value={running.done} aria-label={jobsText.acts[running.act].name} />
          <span>{jobsText.progress(running.done, running.all)}</span>
          <button type="button" onClick={() => stop.current.abort()}>
            {jobsText.stop}
          </button>
        </div>
      )}
      {ended && <Outcome ended={ended} dismiss={() => setEnded(null)} />}
      {!running && number > 0 && (
        <section className={styles.batch} aria-label={jobsText.selected(number)}>
          <strong role="status">{selection.isAll ? jobsText.allSelected(number) : jobsText.selected(number)}</strong>
          {mayChange
            ? ACTS.map((act) => (
                <button key={act} type="button" onClick={() => ask(act)}>
                  {jobsText.acts[act].name}
                </button>
              ))
            : jobsText.mayNone}
          {!selection.isAll && <SelectMatching filters={filters} selection={selection} />}
          <button type="button" onClick={selection.clear}>
            {jobsText.selectNone}
          </button>
        </section>
      )}
      {asked && number > 0 && !running && (
        <Question
          act={asked}
          selection={selection}
          onClose={() => ask(null)}
          start={(jobs) => void start(asked, jobs)}
        />
      )}
    </>
  );
}

/** Asks with the number of jobs that it concerns. */
function Question({
  act,
  selection,
  start,
  onClose,
}: {
  act: Act;
  selection: Selection;
  start: (jobs: Job[]) => void;
  onClose: () => void;
}) {
  const changeable = allowed(useSession().data, selection.jobs.values());
  const jobs = suitable(act, changeable);
  const refused = selection.jobs.size - changeable.length;
  const leftOut = changeable.length - jobs.length;
  const words = jobsText;
  if (!jobs.length) {
    return (
      <Dialog title={words.acts[act].name} onClose={onClose}>
        <p>{changeable.length ? words.none[act] : words.mayNone}</p>
      </Dialog>
    );
  }
  return (
    <Confirm
      title={words.acts[act].title(jobs.length)}
      action={words.actDo(words.acts[act].name, jobs.length)}
      onConfirm={() => start(jobs)}
      onClose={onClose}
    >
      <p>{words.actTexts[act]}</p>
      {refused > 0 && <p>{words.refused(refused)}</p>}
      {leftOut > 0 && <p>{words.leftOut[act](leftOut)}</p>}
    </Confirm>
  );
}

function SelectMatching({ filters, selection }: { filters: Filters; selection: Selection }) {
  const [found, setFound] = useState<number | null>(null);
  const [problem, setProblem] = useState("");
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);
  const collect = async () => {
    stop.current = new AbortController();
    setProblem("");
    setFound(0);
    try {
      selection.set(await allMatching(filters, stop.current.signal, setFound), true);
    } catch (error) {
      if (!stop.current.signal.aborted) setProblem(error instanceof Error ? error.message : String(error));
    }
    setFound(null);
  };
  if (found === null) {
    return (
      <>
        <button type="button" onClick={() => void collect()}>
          {jobsText.selectMatching}
        </button>
        {problem && <span role="alert">{problem}</span>}
      </>
    );
  }
  return (
    <>
      <span role="status">{jobsText.counting(found)}</span>
      <button type="button" onClick={() => stop.current.abort()}>
        {jobsText.stop}
      </button>
    </>
  );
}

function Outcome({ ended, dismiss }: { ended: Ended; dismiss: () => void }) {
  return (
    <section className={styles.outcome} role="status">
      <p>{jobsText.acts[ended.act].done(ended.done)}</p>
      {ended.failures.length > 0 && (
        <>
          <p>{jobsText.partlyFailed(ended.failures.length)}</p>
          <ul>
            {ended.failures.map(({ job, message }) => (
              <li key={job.job_id}>
                <Link href={`/jobs/${job.job_id}`}>{nameOf(job).slice(0, 80)}</Link>: {message}
              </li>
            ))}
          </ul>
        </>
      )}
      <button type="button" onClick={dismiss}>
        {jobsText.dismiss}
      </button>
    </section>
  );
}
