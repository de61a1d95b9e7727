import { expect, test } from "vitest";
import { changesOf, formOf, maskedNames } from "./changes";

const job = {
  payload: { command: ["make", "all tests"], env: { LEVEL: "1", TOKEN: "***" }, timeout: 60, limits: { memory: "1g" } },
  image: "busybox",
  labels: { team: "a" },
  project: "shop",
  priority: 0,
};

test("the form is filled from the old job, but for what is masked", () => {
  expect(formOf(job)).toMatchObject({
    command: "make 'all tests'",
    env: "LEVEL=1",
    labels: "team:a",
    timeout: "60",
    memory: "1g",
    cpus: "",
  });
  expect(maskedNames(job)).toEqual(["TOKEN"]);
  expect(formOf({ ...job, payload: { command: "curl https://***@x" } }).command).toBe("");
});

test("nothing is sent of what stays", () => {
  expect(changesOf(formOf(job), formOf(job))).toEqual({ changes: {}, wrong: {} });
});

test("what differs is sent, as the API takes it", () => {
  const before = formOf(job);
  const after = {
    ...before,
    command: "make x",
    env: "LEVEL=2\nNEW=a=b",
    labels: "team:a\nrun:2",
    cpus: "2",
    isFresh: true,
  };
  expect(changesOf(before, after)).toEqual({
    changes: {
      command: "make x",
      env: { LEVEL: "2", NEW: "a=b" },
      labels: { run: "2" },
      limits: { cpus: "2" },
      fresh: true,
    },
    wrong: {},
  });
});

test("what cannot be sent is told at its field", () => {
  const before = formOf({ ...job, payload: { steps: ["a"] } });
  const { wrong } = changesOf(before, { ...before, command: "x", steps: '["a"', env: "no mark" });
  expect(wrong.steps).toMatch("JSON");
  expect(wrong.env).toMatch("no mark");
});
