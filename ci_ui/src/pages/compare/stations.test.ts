import { expect, test } from "vitest";
import type { Job } from "./data";
import { timesOf } from "./stations";

function job(...stations: [string, number][]): Job {
  return {
    timing: stations.map(([station, second]) => ({ station, time: `2026-01-01T10:00:0${second}Z` })),
    steps: [{ name: "test", start_time: "2026-01-01T10:00:01Z", end_time: "2026-01-01T10:00:03Z" }],
  } as Job;
}

test("stations of both are in the order of the path", () => {
  const before = job(["accepted", 0], ["received", 1], ["seen", 2], ["created", 4]);
  const after = job(["accepted", 0], ["seen", 1], ["moved_in", 2]);
  expect(timesOf({ before, after }).map((row) => [row.name, row.before, row.after])).toEqual([
    ["received", 1_000, null],
    ["seen", 1_000, 1_000],
    ["created", 2_000, null],
    ["moved_in", null, 1_000],
    ["test", 2_000, 2_000],
  ]);
});
