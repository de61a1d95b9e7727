// @vitest-environment happy-dom
import { expect, test, vi } from "vitest";
import { nextCursor } from "../../api/paging";
import { Problem, Unreachable } from "../../api/problem";
import { allowed, performAll, suitable } from "./batch";
import { between } from "./selection";
import type { Job } from "./use_jobs";

const job = (id: string, status = "completed") => ({ job_id: id, status }) as Job;
const many = Array.from({ length: 20 }, (_, index) => job(String(index)));

test("what is refused is told, and the others are done", async () => {
  const seen: number[] = [];
  const act = async ({ job_id }: Job) => {
    if (job_id === "7") throw new Problem(409, null);
  };
  const failures = await performAll(many, act, new AbortController().signal, (done) => seen.push(done));
  expect(failures.map((each) => each.job.job_id)).toEqual(["7"]);
  expect(seen).toEqual(many.map((_, index) => index + 1));
});

test("what may succeed later is tried again, and not for ever", async () => {
  const act = vi.fn().mockRejectedValueOnce(new Problem(429, null)).mockResolvedValueOnce(undefined);
  const ignored = () => {};
  expect(await performAll([job("1")], act, new AbortController().signal, ignored, 0)).toEqual([]);
  const gone = vi.fn().mockRejectedValue(new Unreachable());
  expect(await performAll([job("1")], gone, new AbortController().signal, ignored, 0)).toHaveLength(1);
  expect(gone).toHaveBeenCalledTimes(5);
});

test("what is stopped goes no further", async () => {
  const stop = new AbortController();
  const act = vi.fn(async () => stop.abort());
  await performAll(many, act, stop.signal, () => {});
  expect(act.mock.calls.length).toBeLessThanOrEqual(4);
});

test("only jobs that still run are cancelled, and only completed ones are repeated or deleted", () => {
  const jobs = [job("1", "queued"), job("2", "running"), job("3")];
  expect(suitable("cancel", jobs).map((each) => each.job_id)).toEqual(["1", "2"]);
  expect(suitable("delete", jobs)).toEqual(suitable("retry", jobs));
});

test("a range goes from the last click to this one, in both directions", () => {
  const ids = (from: string | null, to: string) => between(many, from, job(to)).map((each) => each.job_id);
  expect(ids("3", "5")).toEqual(["3", "4", "5"]);
  expect(ids("5", "3")).toEqual(["3", "4", "5"]);
  expect(ids("gone", "3")).toEqual(["3"]);
  expect(ids(null, "3")).toEqual(["3"]);
});

test("the next page is found in the header", () => {
  const link = '</jobs?status=queued&cursor=01890000-0000>; rel="next"';
  expect(nextCursor(new Response("", { headers: { Link: link } }))).toBe("01890000-0000");
  expect(nextCursor(new Response(""))).toBeNull();
});

test("a member of one project changes the jobs of that one", () => {
  const session = { sender: { scopes: ["jobs:read"], projects: null, scopes_in: { web: ["jobs:write"] } } } as never;
  const jobs = [
    { ...job("1"), project: "web" },
    { ...job("2"), project: "shop" },
    { ...job("3"), project: null },
  ];
  expect(allowed(session, jobs).map((each) => each.job_id)).toEqual(["1"]);
});
