// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { followLog, type LogState } from "./follow_log";
import type { AboutJob, Job } from "./protocol";
import type { Watcher } from "./tab";

const JOB = "0190-job";
const watchers: Watcher[] = [];
vi.mock("./tab", () => ({
  watch(watcher: Watcher) {
    watchers.push(watcher);
    return () => watchers.splice(watchers.indexOf(watcher), 1);
  },
}));

let log: Uint8Array;
let sha256: string | null;
let requests: string[];
let failures: number;

beforeEach(() => {
  watchers.length = 0;
  log = bytes(0, 10);
  sha256 = null;
  requests = [];
  failures = 0;
  vi.stubGlobal("fetch", async (_url: string, init: { headers: { Range: string } }) => {
    const range = init.headers.Range;
    requests.push(range);
    if (failures-- > 0) throw new TypeError("no network");
    const [first = 0, last = 0] = range.replace("bytes=", "").split("-").map(Number);
    const headers: Record<string, string> = sha256 ? { ETag: `"${sha256}"` } : {};
    if (first >= log.length) return new Response(null, { status: 416, headers });
    headers["Content-Range"] = `bytes ${first}-${last}/${sha256 ? log.length : "*"}`;
    return new Response(log.slice(first, last + 1), { status: 206, headers });
  });
});

afterEach(() => vi.unstubAllGlobals());

/** Bytes of the log that lie from `first` on, each with its own offset as its value. */
function bytes(first: number, last: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: last - first }, (_, number) => first + number);
}

function pushed(first: number, last: number, attempt = 1) {
  tell({ kind: "chunk", jobId: JOB, attempt, offset: first, bytes: bytes(first, last) });
}

function tell(message: AboutJob) {
  for (const watcher of watchers) watcher.take(message);
}

function followed(from: number, onChunk?: (offset: number) => void | Promise<void>) {
  const got: number[] = [];
  const states: LogState[] = [];
  const take = (offset: number, chunk: Uint8Array) => {
    expect(offset).toBe(from + got.length);
    got.push(...chunk);
    return onChunk?.(offset);
  };
  const stop = followLog(JOB, from, take, (state) => states.push(state));
  const has = (until: number) => vi.waitFor(() => expect(got).toEqual([...bytes(from, until)]), 5_000);
  const isWatching = () => vi.waitFor(() => expect(watchers).toHaveLength(1));
  return { states, stop, has, isWatching };
}

test("what is there is fetched, and what comes twice or too early is put in order", async () => {
  const { has, isWatching, stop } = followed(4);
  await has(10);
  await isWatching();
  expect(watchers[0]?.position()).toEqual({ attempt: 1, offset: 10 });
  log = bytes(0, 40);
  pushed(8, 14);
  pushed(8, 14);
  pushed(20, 24);
  pushed(0, 50, 2);
  await has(24);
  expect(requests.at(-1)).toBe("bytes=14-19");
  tell({ kind: "position", jobId: JOB, position: { attempt: 1, offset: 30 } });
  await has(30);
  stop();
  expect(watchers).toHaveLength(0);
});

test("a view that is slow is given more only when it is ready", async () => {
  let go = () => {};
  const { has, isWatching } = followed(0, (offset) =>
    offset === 10 ? new Promise<void>((resolve) => (go = resolve)) : undefined,
  );
  await has(10);
  await isWatching();
  log = bytes(0, 60);
  pushed(10, 20);
  await has(20);
  pushed(20, 30);
  pushed(50, 60);
  await has(20);
  go();
  await has(60);
});

test("a gap is closed as soon as the server answers again", async () => {
  const { has, isWatching } = followed(0);
  await has(10);
  await isWatching();
  log = bytes(0, 30);
  failures = 2;
  pushed(20, 30);
  await has(30);
});

test("the end comes after the last byte, with the digest of the log", async () => {
  const { has, isWatching, states } = followed(0);
  await has(10);
  await isWatching();
  log = bytes(0, 12);
  const job = { attempt: 1, attempts: [], status: "completed", log_bytes: 12, log_sha256: "ab" } as unknown as Job;
  tell({ kind: "job", jobId: JOB, job });
  await has(12);
  await vi.waitFor(() => expect(states.at(-1)).toEqual({ kind: "ended", bytes: 12, sha256: "ab" }));
  expect(watchers).toHaveLength(0);
});

test("the log of a completed job needs no stream", async () => {
  sha256 = "cd";
  const { states } = followed(0);
  await vi.waitFor(() => expect(states.at(-1)).toEqual({ kind: "ended", bytes: 10, sha256: "cd" }));
  expect(watchers).toHaveLength(0);
});

test("a job that is deleted is said to be gone", async () => {
  const { has, isWatching, states } = followed(0);
  await has(10);
  await isWatching();
  tell({ kind: "gone", jobId: JOB });
  await vi.waitFor(() => expect(states.at(-1)).toEqual({ kind: "gone" }));
});
