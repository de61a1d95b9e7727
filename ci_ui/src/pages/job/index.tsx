import { Suspense } from "react";
import { Link, useParams, useSearch } from "wouter";
import { commonText } from "#text/common";
import { jobText } from "#text/job";
import { Problem } from "../../api/problem";
import { lazyPart } from "../../app/part";
import { useTitle } from "../../app/title";
import { nameOf } from "../../components/job_name";
import { Empty, Failure, Loading } from "../../components/placeholders";
import { stateOf } from "../../components/state";
import { type Job, useJob } from "../../live";
import { Header } from "./header";
import { type Tab, tabOf } from "./links";
import { SummaryTab } from "./summary";
import { TabLinks } from "./tab_links";

const LogTab = lazyPart(() => import("./log_tab"));
const TestsTab = lazyPart(() => import("./tests"));
const ArtifactsTab = lazyPart(() => import("./artifacts"));
const TimelineTab = lazyPart(() => import("./timeline"));
const AttemptsTab = lazyPart(() => import("./attempts"));
const RecordTab = lazyPart(() => import("./record_tab"));

/** One job, with all that is known of it. */
export default function JobPage() {
  const { jobId = "" } = useParams<{ jobId: string }>();
  const query = useJob(jobId);
  const tab = tabOf(useSearch());
  const job = query.data;
  useTitle(job ? titleOf(job) : jobText.loading, job ? stateOf(job) : "idle");
  if (!job) {
    if (query.isPending) return <Loading />;
    if (isGone(query.error)) return <Gone />;
    return <Failure error={query.error} retry={() => void query.refetch()} />;
  }
  return (
    <>
      <Stale error={query.error} />
      <Header job={job} />
      <TabLinks job={job} current={tab} />
      <Suspense fallback={<Loading />}>
        <TabContent job={job} tab={tab} />
      </Suspense>
    </>
  );
}

function titleOf(job: Job): string {
  return jobText.titled(commonText.states[stateOf(job)], nameOf(job));
}

function TabContent({ job, tab }: { job: Job; tab: Tab }) {
  switch (tab) {
    case "log":
      return <LogTab job={job} />;
    case "tests":
      return <TestsTab job={job} />;
    case "artifacts":
      return <ArtifactsTab job={job} />;
    case "timeline":
      return <TimelineTab job={job} />;
    case "attempts":
      return <AttemptsTab job={job} />;
    case "record":
      return <RecordTab job={job} />;
    case "summary":
      return <SummaryTab job={job} />;
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Problem && error.status === 404;
}

function Gone() {
  return (
    <Empty title={jobText.goneTitle}>
      <p>{jobText.goneText}</p>
      <Link href="/">{commonText.toJobs}</Link>
    </Empty>
  );
}

/** Says that what is shown cannot be read again. That the server does not answer, the frame says. */
function Stale({ error }: { error: unknown }) {
  if (!(error instanceof Problem)) return null;
  return (
    <p className="warning" role="status">
      {isGone(error) ? jobText.deletedMeanwhile : jobText.stale(error.message)}
    </p>
  );
}
