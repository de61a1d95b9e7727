import { expect, test } from "vitest";
import { changesOfText, type Run, specOf, textOf } from "./spec_text";

const step = { argv: null, stop_at_failure: true, condition: "success", continue_on_error: false, env: {} };
const run = {
  priority: 0,
  project: "shop",
  labels: { team: "a" },
  plan: {
    version: 1,
    image: "python:3.12",
    timeout: 600,
    no_output_timeout: null,
    limits: { memory: 1073741824, cpus: null },
    retry: { max_attempts: 1 },
    network: true,
    setup: { steps: 1 },
  },
  inputs: {
    environment: { key: null, variables: { LEVEL: "1", TOKEN: "***" } },
    steps: [
      { ...step, name: "install", shell: "pip install ." },
      { ...step, name: "test", shell: "pytest -q\necho done\n", condition: "always", timeout: 60 },
    ],
  },
} as unknown as Run;
const before = specOf(run);

test("the text has what a retry can change, without the setup and what is masked", () => {
  expect(textOf(before)).toBe(`image: python:3.12
steps:
  - name: test
    run: |
      pytest -q
      echo done
    if: always
    timeout: 60
env:
  LEVEL: '1'
timeout: 600
limits:
  memory: 1073741824
retry:
  max_attempts: 1
network: true
priority: 0
project: shop
labels:
  team: a
`);
});

test("only what differs is sent, of some fields one by one", () => {
  expect(changesOfText(before, textOf(before))).toEqual({ changes: {}, wrong: null });
  const text = "image: python:3.13\nenv: {LEVEL: '1', NEW: x}\nlimits: {cpus: 2}\nlabels: {team: a}\nfresh: true\n";
  expect(changesOfText(before, text).changes).toEqual({
    image: "python:3.13",
    env: { NEW: "x" },
    limits: { cpus: 2 },
    fresh: true,
  });
});

test("a step that has a masked text stays, and a command stays a command", () => {
  const steps = [{ ...step, name: "command", shell: null, argv: ["make", "all"], stop_at_failure: false }];
  const plan = { ...run.plan, setup: null };
  expect(specOf({ ...run, plan, inputs: { ...run.inputs, steps } }).command).toEqual(["make", "all"]);
  const masked = [{ ...step, name: "test", shell: "curl https://***@x" }];
  expect(specOf({ ...run, plan, inputs: { ...run.inputs, steps: masked } })).not.toHaveProperty("steps");
});

test.each([
  ["image: [", /line|end of the stream|flow/],
  ["- a\n- b\n", /fields/],
  ["", /fields/],
])("what is wrong with %j is said", (text, words) => {
  expect(changesOfText(before, text).wrong).toMatch(words);
});
