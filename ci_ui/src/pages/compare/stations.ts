import type { Job } from "./data";
import { secondsOf } from "./differences";
import type { Pair } from "./pair";

export interface Times {
  name: string;
  /** Whether it is a step of the job, not a station of its path. */
  step: boolean;
  /** Milliseconds; null where the job has not been. */
  before: number | null;
  after: number | null;
}

/** Return how long each way to a station took since the station before, in the order of the path; then the steps. */
export function timesOf({ before, after }: Pair<Job>): Times[] {
  return [...sideBySide(ways(before), ways(after), false), ...sideBySide(steps(before), steps(after), true)];
}

function ways(job: Job): Map<string, number> {
  const found = new Map<string, number>();
  job.timing.forEach(({ station, time }, index) => {
    const last = job.timing[index - 1];
    if (last) found.set(station, Date.parse(time) - Date.parse(last.time));
  });
  return found;
}

function steps(job: Job): Map<string, number> {
  return new Map(
    job.steps.flatMap((step) => {
      const seconds = secondsOf({ ...step });
      return seconds === null ? [] : [[step.name, 1_000 * seconds] as const];
    }),
  );
}

/** Merge the names of both in an order that keeps that of each. */
function sideBySide(before: Map<string, number>, after: Map<string, number>, step: boolean): Times[] {
  const names = [...after.keys()];
  let place = 0;
  for (const name of before.keys()) {
    const known = names.indexOf(name);
    if (known >= 0) place = known + 1;
    else names.splice(place++, 0, name);
  }
  return names.map((name) => ({ name, step, before: before.get(name) ?? null, after: after.get(name) ?? null }));
}
