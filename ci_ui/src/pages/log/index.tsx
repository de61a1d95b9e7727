import { Link, useParams } from "wouter";
import { commonText } from "#text/common";
import { jobText } from "#text/job";
import { logText } from "#text/log";
import { useTitle } from "../../app/title";
import { nameOf } from "../../components/job_name";
import { Failure, Loading } from "../../components/placeholders";
import { StateBadge, stateOf } from "../../components/state";
import { useJob } from "../../live";
import { LogView } from "../../log";
import styles from "./log.module.css";

/** The log of a job in the whole window: `/jobs/:id/log`. */
export default function LogPage() {
  const { id = "" } = useParams<{ id: string }>();
  const attempt = Number(new URLSearchParams(location.search).get("attempt")) || undefined;
  const { data: job, error, refetch } = useJob(id);
  const state = job && stateOf(job);
  useTitle(job && state ? jobText.titled(commonText.states[state], nameOf(job)) : logText.title, state ?? "idle");
  if (error && !job) return <Failure error={error} retry={() => void refetch()} />;
  if (!job) return <Loading />;
  return (
    <div className={styles.page}>
      <div className={styles.head}>
        <h1>{logText.title}</h1>
        <StateBadge state={stateOf(job)} />
        <Link href={`/jobs/${id}`}>{logText.backToJob}</Link>
      </div>
      <LogView job={job} {...(attempt && { attempt })} />
    </div>
  );
}
