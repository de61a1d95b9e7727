import type { UseQueryResult } from "@tanstack/react-query";
import { chartsText } from "#text/charts";
import { commonText } from "#text/common";
import { projectText } from "#text/project";
import { BarTrend, LineTrend } from "../../components/charts/trend";
import { JobLink } from "../../components/links";
import { Section } from "../../components/section";
import { StateBadge } from "../../components/state";
import { Tile, Tiles } from "../../components/tiles";
import { Time } from "../../components/time";
import { Wide } from "../../components/wide";
import type { Trend } from "./data";
import { coverages, durations, percentWords, secondsWords } from "./points";
import styles from "./project.module.css";

/** The last jobs of a project: in numbers, and as lines over time. */
export function TrendSections({ trend }: { trend: UseQueryResult<Trend> }) {
  const words = projectText;
  return (
    <>
      <Section title={words.summary} query={trend} empty={(data) => !data.jobs.length && words.noJobs}>
        {(data) => <Summary trend={data} />}
      </Section>
      {trend.data && trend.data.jobs.length > 0 && (
        <>
          <Section title={words.trend} query={trend}>
            {(data) => (
              <>
                <BarTrend points={durations(data)} format={secondsWords} />
                <details className={styles.table}>
                  <summary>{chartsText.asTable}</summary>
                  <JobsTable trend={data} />
                </details>
              </>
            )}
          </Section>
          <Section title={words.coverage} query={trend} empty={(data) => !lastCoverage(data) && words.noCoverage}>
            {(data) => (
              <>
                <p>{words.coverageNow(lastCoverage(data) ?? "")}</p>
                <LineTrend points={coverages(data)} format={percentWords} />
              </>
            )}
          </Section>
        </>
      )}
    </>
  );
}

function lastCoverage(trend: Trend): string | null {
  const job = trend.jobs.find((each) => each.coverage !== null);
  return job?.coverage?.toFixed(1) ?? null;
}

function Summary({ trend }: { trend: Trend }) {
  const words = projectText;
  const last = trend.jobs[0];
  const succeeded = trend.conclusions.succeeded ?? 0;
  const told = succeeded + (trend.conclusions.failed ?? 0) + (trend.conclusions.timed_out ?? 0);
  return (
    <Tiles>
      {last && (
        <Tile name={words.last}>
          <dd>
            <StateBadge state={last.conclusion} />
          </dd>
          <dd>
            <JobLink id={last.job_id} />, <Time at={last.end_time} />
          </dd>
        </Tile>
      )}
      {trend.success !== null && (
        <Tile name={words.success}>
          <dd>{percentWords(100 * trend.success)}</dd>
          <dd className="muted">
            {words.ofJobs(succeeded, told)}. {words.basis}
          </dd>
        </Tile>
      )}
      {trend.seconds && (
        <Tile name={words.median}>
          <dd>{secondsWords(trend.seconds.median)}</dd>
          <dd className="muted">{words.p95(secondsWords(trend.seconds.p95))}</dd>
        </Tile>
      )}
      <Tile name={words.conclusions}>
        {Object.entries(trend.conclusions).map(([conclusion, number]) => (
          <dd key={conclusion}>{words.conclusion(wordFor(conclusion), number)}</dd>
        ))}
      </Tile>
    </Tiles>
  );
}

function wordFor(conclusion: string): string {
  return (commonText.states as Record<string, string>)[conclusion] ?? conclusion;
}

function JobsTable({ trend }: { trend: Trend }) {
  const words = projectText;
  return (
    <Wide label={words.trend}>
      <table>
        <thead>
          <tr>
            <th scope="col">{words.job}</th>
            <th scope="col">{words.state}</th>
            <th scope="col">{words.duration}</th>
            <th scope="col">{words.waited}</th>
            <th scope="col">{words.tests}</th>
            <th scope="col">{words.coverage}</th>
            <th scope="col">{words.ended}</th>
          </tr>
        </thead>
        <tbody>
          {trend.jobs.map((job) => (
            <tr key={job.job_id}>
              <td>
                <JobLink id={job.job_id} />
              </td>
              <td>
                <StateBadge state={job.conclusion} />
              </td>
              <td className={styles.once}>{job.seconds === null ? words.notRun : secondsWords(job.seconds)}</td>
              <td className={styles.once}>{job.waited_seconds !== null && secondsWords(job.waited_seconds)}</td>
              <td className={styles.once}>
                {job.tests && words.testCounts(job.tests.failed + job.tests.errors, job.tests.total)}
              </td>
              <td className={styles.once}>{job.coverage !== null && percentWords(job.coverage)}</td>
              <td className={styles.once}>
                <Time at={job.end_time} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}
