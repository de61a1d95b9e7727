import { Link } from "wouter";
import { jobText } from "#text/job";
import type { Job } from "../../live";
import { jobPath, TABS, type Tab } from "./links";
import styles from "./tab_links.module.css";

/** The parts of a job's page. Each has an address of its own, so they are links. */
export function TabLinks({ job, current }: { job: Job; current: Tab }) {
  return (
    <nav className={styles.tabs} aria-label={jobText.tabsName}>
      {TABS.map((tab) => (
        <Link key={tab} href={jobPath(job.job_id, tab)} aria-current={tab === current ? "page" : undefined}>
          {jobText.tabs[tab]}
          <Count n={countOf(job, tab)} />
        </Link>
      ))}
    </nav>
  );
}

function countOf(job: Job, tab: Tab): number {
  if (tab === "tests") return job.tests?.total ?? 0;
  if (tab === "artifacts") return job.artifact_totals?.number ?? 0;
  if (tab === "attempts") return job.attempts.length ? job.attempt : 0;
  return 0;
}

function Count({ n }: { n: number }) {
  return n > 0 ? <span className="count">{n.toLocaleString("en")}</span> : null;
}
