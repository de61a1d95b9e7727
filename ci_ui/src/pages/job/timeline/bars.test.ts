import { expect, test } from "vitest";
import type { Schemas } from "../../../api/client";
import { barsOf } from "./bars";

const BASE = Date.parse("2026-01-08T12:00:00Z");
const at = (seconds: number) => new Date(BASE + seconds * 1_000).toISOString();
const step = (name: string, start: number, end: number | null) =>
  ({
    name,
    start_time: at(start),
    end_time: end === null ? null : at(end),
    status: end ? "succeeded" : "running",
  }) as Schemas["StepView"];
const job = (stations: Record<string, number>, status: string, steps: Schemas["StepView"][] = []) =>
  ({
    timing: Object.entries(stations).map(([station, s]) => ({ station, time: at(s) })),
    status,
    steps,
  }) as unknown as Schemas["JobView"];
const shown = (value: Schemas["JobView"]) =>
  barsOf(value).map((bar) => [bar.name, (bar.start - BASE) / 1e3, bar.end && (bar.end - BASE) / 1e3]);

test("the way of a completed job has a bar for each part, and its steps below that in which they ran", () => {
  const stations = {
    accepted: 0,
    persisting: 1,
    seen: 2,
    starting: 3,
    running: 4,
    gate_opened: 5,
    exit_seen: 8,
    completing: 9,
    completed: 10,
    cleared: 12,
  };
  expect(shown(job(stations, "completed", [step("test", 5, 8)]))).toEqual([
    ["upload", 0, 1],
    ["queue", 1, 3],
    ["start", 3, 5],
    ["run", 5, 8],
    ["test", 5, 8],
    ["collect", 8, 9],
    ["complete", 9, 10],
    ["clean", 10, 12],
  ]);
});

test("what has not ended has no end", () => {
  expect(shown(job({ accepted: 0, persisting: 1, seen: 2 }, "queued"))).toEqual([
    ["upload", 0, 1],
    ["queue", 1, null],
  ]);
  expect(shown(job({ starting: 0, running: 1 }, "running", [step("a", 1, null)])).slice(1)).toEqual([
    ["run", 1, null],
    ["a", 1, null],
  ]);
});

test("a job that was cancelled in the queue ends there", () => {
  expect(shown(job({ persisting: 0, completing: 7, completed: 8 }, "completed"))).toEqual([
    ["queue", 0, 7],
    ["complete", 7, 8],
  ]);
});
