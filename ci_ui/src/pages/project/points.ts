import { commonText } from "#text/common";
import { projectText } from "#text/project";
import type { Point } from "../../components/charts/points";
import { durationWords } from "../../components/time";
import type { Trend } from "./data";

type Ended = Trend["jobs"][number];

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Return how long the jobs of a trend took, the oldest first. */
export function durations(trend: Trend): Point[] {
  return points(trend, (job) => job.seconds, secondsWords);
}

/** Return the coverage of the jobs of a trend, the oldest first. */
export function coverages(trend: Trend): Point[] {
  return points(trend, (job) => job.coverage, percentWords);
}

function points(trend: Trend, value: (job: Ended) => number | null, words: (value: number) => string): Point[] {
  return trend.jobs.toReversed().map((job) => {
    const measured = value(job);
    const said = measured === null ? projectText.notRun : words(measured);
    const id = job.job_id.slice(-8);
    return {
      id: job.job_id,
      href: `/jobs/${job.job_id}`,
      label: projectText.point(id, commonText.states[job.conclusion], said, when.format(new Date(job.end_time))),
      value: measured,
      good: job.conclusion === "succeeded",
    };
  });
}

export function secondsWords(seconds: number): string {
  return durationWords(seconds * 1_000);
}

export function percentWords(percent: number): string {
  return projectText.percent(percent.toFixed(1));
}
