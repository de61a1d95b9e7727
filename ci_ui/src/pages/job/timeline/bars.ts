import type { Schemas } from "../../../api/client";

/** A part of a job's time, in milliseconds of the epoch. Without an end it goes on. */
export interface Bar {
  kind: "station" | "step";
  name: string;
  start: number;
  end: number | null;
  state: "waiting" | "running" | "succeeded" | "failed" | "skipped";
}

type Timed = Pick<Schemas["JobView"], "timing" | "steps" | "status" | "end_time" | "submit_time">;

/** Where each part of the way begins: at the first of these stations that was passed. */
const PARTS: [string, string[]][] = [
  ["upload", ["accepted"]],
  ["unpack", ["received"]],
  ["store", ["unpacked"]],
  ["queue", ["persisting", "seen"]],
  ["start", ["starting"]],
  ["run", ["gate_opened", "running"]],
  ["collect", ["exit_seen"]],
  ["complete", ["completing"]],
  ["clean", ["completed"]],
];

/** Return the way of a job as bars: the parts between its milestones, with its steps below the part in which they ran. */
export function barsOf(job: Timed): Bar[] {
  const times = new Map(job.timing.map(({ station, time }) => [station, Date.parse(time)]));
  const begun = PARTS.flatMap(([name, stations]) => {
    const found = stations.map((station) => times.get(station)).find((time) => time !== undefined);
    return found === undefined ? [] : [{ name, start: found }];
  });
  const last = times.get("cleared") ?? (job.status === "completed" ? lastOf(times) : null);
  return begun.flatMap(({ name, start }, index) => {
    const end = begun[index + 1]?.start ?? last;
    if (name === "clean" && !times.has("cleared")) return [];
    const bar: Bar = { kind: "station", name, start, end, state: end === null ? "running" : "waiting" };
    return name === "run" ? [bar, ...job.steps.map(stepBar)] : [bar];
  });
}

function lastOf(times: Map<string, number>): number {
  return Math.max(...times.values());
}

function stepBar(step: Schemas["StepView"]): Bar {
  return {
    kind: "step",
    name: step.name,
    start: Date.parse(step.start_time),
    end: step.end_time === null ? null : Date.parse(step.end_time),
    state: step.status,
  };
}
