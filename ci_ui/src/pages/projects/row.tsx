import { Link } from "wouter";
import { commonText } from "#text/common";
import { projectsText } from "#text/projects";
import { Sparkline } from "../../components/charts/trend";
import { ProjectLink } from "../../components/links";
import { StateBadge } from "../../components/state";
import { Time } from "../../components/time";
import { type Trend, useTrend } from "../project/data";
import { durations, secondsWords } from "../project/points";
import styles from "./projects.module.css";

const JOBS = 30;

/** A project in the list. Its numbers come when they are there. */
export function Row({ name }: { name: string }) {
  const trend = useTrend(name, JOBS);
  return (
    <tr>
      <th scope="row" className={styles.name}>
        <ProjectLink project={name} />
      </th>
      {trend.data?.jobs.length ? (
        <Numbers trend={trend.data} />
      ) : (
        <td colSpan={5} className="muted">
          {trend.isPending ? commonText.loading : trend.isError ? trend.error.message : projectsText.noJobs}
        </td>
      )}
    </tr>
  );
}

function Numbers({ trend }: { trend: Trend }) {
  const last = trend.jobs[0];
  return (
    <>
      <td>
        {last && (
          <Link href={`/jobs/${last.job_id}`} className={styles.state}>
            <StateBadge state={last.conclusion} />
          </Link>
        )}
      </td>
      <td className={styles.once}>{last && <Time at={last.end_time} />}</td>
      <td className={styles.once}>{projectsText.ofJobs(trend.conclusions.succeeded ?? 0, trend.jobs.length)}</td>
      <td className={styles.once}>{trend.seconds && secondsWords(trend.seconds.median)}</td>
      <td>
        <Sparkline points={durations(trend)} />
      </td>
    </>
  );
}
