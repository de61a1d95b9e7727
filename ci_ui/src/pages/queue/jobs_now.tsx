import { queueText } from "#text/queue";
import { Bars } from "../../components/charts/bars";
import { type Column, DataTable } from "../../components/data_table";
import { JobLink, ProjectLink } from "../../components/links";
import { Section } from "../../components/section";
import { Duration, Time } from "../../components/time";
import { type Job, type Queue, useQueue, useRunning } from "./data";

type Waiting = Queue["jobs"][number];
type Share = Queue["projects"][number];

const words = queueText;
const job: Column<{ job_id: string }> = { name: words.job, cell: (each) => <JobLink id={each.job_id} /> };
const project: Column<{ project: string | null }> = {
  name: words.project,
  shape: "name",
  cell: (each) => <ProjectLink project={each.project} />,
};

const RUNNING: readonly Column<Job>[] = [
  job,
  project,
  { name: words.owner, shape: "name", cell: (each) => each.owner },
  { name: words.step, shape: "name", cell: (each) => each.steps.at(-1)?.name ?? words.noStep },
  { name: words.image, shape: "name", cell: (each) => <Images job={each} /> },
  {
    name: words.duration,
    shape: "once",
    cell: (each) => each.start_time && <Duration from={each.start_time} to={null} />,
  },
];

const WAITING: readonly Column<Waiting>[] = [
  job,
  project,
  { name: words.place, shape: "once", cell: (each) => each.position.toLocaleString() },
  { name: words.priority, cell: (each) => each.priority },
  { name: words.why, shape: "words", cell: (each) => each.reason?.message ?? words.seenSoon },
  { name: words.since, shape: "once", cell: (each) => <Time at={each.submit_time} /> },
];

/** The jobs that run and wait, and how many of each project. */
export function JobsNow() {
  const running = useRunning();
  const queue = useQueue();
  return (
    <>
      <Section title={words.running} query={running} empty={(jobs) => !jobs.length && words.noneRunning}>
        {(jobs) => (
          <>
            <Cut shown={jobs.length} total={queue.data?.running} />
            <DataTable label={words.running} columns={RUNNING} rows={jobs} keyOf={(each) => each.job_id} />
          </>
        )}
      </Section>
      <Section title={words.waiting} query={queue} empty={({ jobs }) => !jobs.length && words.noneWaiting}>
        {({ jobs, queued }) => (
          <>
            <p className="muted">{words.turns}</p>
            <Cut shown={jobs.length} total={queued} />
            <DataTable label={words.waiting} columns={WAITING} rows={jobs} keyOf={(each) => each.job_id} />
          </>
        )}
      </Section>
      {queue.data && queue.data.projects.length > 1 && <ByProject shares={queue.data.projects} />}
    </>
  );
}

/** Says that a list is longer than what is shown of it. */
function Cut({ shown, total }: { shown: number; total: number | undefined }) {
  // The numbers are read a moment apart, so only a full page says that there are more.
  if (total === undefined || shown < 100 || total <= shown) return null;
  return <p>{words.cut(shown, total)}</p>;
}

/** The image of a job, and those of its services. */
function Images({ job: { image, services } }: { job: Job }) {
  return (
    <>
      {image}
      {Object.entries(services).map(([name, each]) => (
        <div key={name} className="muted">
          {words.beside(name, each)}
        </div>
      ))}
    </>
  );
}

function ByProject({ shares }: { shares: Share[] }) {
  const most = Math.max(...shares.map((share) => share.running + share.starting + share.queued));
  const columns: Column<Share>[] = [
    project,
    { name: words.running, cell: (share) => share.running },
    { name: words.waiting, cell: (share) => share.starting + share.queued },
    {
      name: null,
      shape: "bars",
      cell: (share) => <Bars most={most} parts={[share.running, share.starting + share.queued]} />,
    },
  ];
  return (
    <section aria-labelledby="by-project">
      <h2 id="by-project">{words.projects}</h2>
      <DataTable label={words.projects} columns={columns} rows={shares} keyOf={(share) => share.project ?? ""} />
    </section>
  );
}
