import { expect, test } from "vitest";
import { changedFiles, differences } from "./differences";

const RUN = {
  conclusion: "succeeded",
  start_time: "2026-01-01T10:00:00Z",
  end_time: "2026-01-01T10:00:04.5Z",
  plan: { timeout: 60, env: { A: "1" } },
  steps: [{ name: "test", status: "succeeded", start_time: "2026-01-01T10:00:00Z", end_time: "2026-01-01T10:00:02Z" }],
  inputs: { steps: [{ name: "test", run: "pytest" }], artifacts: null },
  resources: { peak_memory: 100, samples: [1] },
};

test("a run and itself have everything in common", () => {
  expect(differences(RUN, structuredClone(RUN))).toEqual([]);
});

test("leaves that differ are named by their paths", () => {
  const other = {
    ...RUN,
    conclusion: "failed",
    start_time: "2026-01-02T10:00:00Z",
    end_time: "2026-01-02T10:00:04.5Z",
    plan: { timeout: 60, env: { A: "1", B: "2" } },
    steps: [{ ...RUN.steps[0], end_time: "2026-01-01T10:00:03Z" }],
    inputs: { steps: [{ name: "test", run: "pytest -x" }, { name: "ship" }], artifacts: null },
    resources: { peak_memory: 200, samples: [2] },
  };
  expect(differences(RUN, other)).toEqual([
    { part: "result", name: "conclusion", before: "succeeded", after: "failed" },
    { part: "plan", name: "plan.env.B", before: null, after: "2" },
    { part: "steps", name: "test.run", before: "pytest", after: "pytest -x" },
    { part: "steps", name: "ship", before: null, after: "there" },
    { part: "steps", name: "test.seconds", before: 2, after: 3 },
    { part: "used", name: "peak_memory", before: 100, after: 200 },
  ]);
});

test("files are compared by their contents", () => {
  const file = (path: string, sha256: string) => ({ path, sha256 });
  const found = changedFiles(
    [file("a", "1"), file("b", "1"), file("c", "1")],
    [file("b", "1"), file("c", "2"), file("d", "1")],
  );
  expect(found.map(({ path, change }) => [path, change])).toEqual([
    ["a", "removed"],
    ["c", "changed"],
    ["d", "added"],
  ]);
});
