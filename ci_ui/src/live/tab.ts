import { readAgain } from "../api/reading";
import { apiUrl } from "../app/base";
import { scriptUrl } from "../app/trusted";
import { backoff } from "./asking";
import type { AboutJob, Change, Filters, FromHub, Position, Reach, ToHub } from "./protocol";
import { HIDDEN_MS, PING_MS, TIMINGS } from "./timings";
import workerUrl from "./worker?sharedworker&url";

/** What a part of the page wants to hear of one job. */
export interface Watcher {
  jobId: string;
  /** How much of the log it has; null if it does not show the log. */
  position(): Position | null;
  take(message: AboutJob): void;
}

/** What a list wants to hear. */
export interface ListWatcher {
  filters: Filters;
  take(change: Change): void;
}

let port: MessagePort | null = null;
let shown = document.visibilityState === "visible";
let hiding: ReturnType<typeof setTimeout> | undefined;
let planned = false;
let hasTurned = false;
let reach: Reach = "reachable";
const watchers = new Set<Watcher>();
const lists = new Set<ListWatcher>();
const reachListeners = new Set<(reach: Reach) => void>();

/** Hear of a job until the returned function is called. */
export function watch(watcher: Watcher): () => void {
  watchers.add(watcher);
  plan(true);
  return () => {
    watchers.delete(watcher);
    plan(false);
  };
}

/** Hear of the changes of jobs until the returned function is called. */
export function watchChanges(watcher: ListWatcher): () => void {
  lists.add(watcher);
  plan(false);
  return () => {
    lists.delete(watcher);
    plan(false);
  };
}

/** Hear whether the server can be reached, until the returned function is called. */
export function watchReach(listener: (reach: Reach) => void): () => void {
  reachListeners.add(listener);
  return () => reachListeners.delete(listener);
}

export function reachNow(): Reach {
  return reach;
}

/** Say to all tabs that this browser has signed in again. */
export function tellSignedIn() {
  if (port) post({ kind: "signed_in" });
}

/** Say what this tab wants, once for all changes of this moment. */
function plan(turned: boolean) {
  hasTurned ||= turned;
  if (planned) return;
  planned = true;
  queueMicrotask(() => {
    planned = false;
    if (port || watchers.size || lists.size) say();
  });
}

function say() {
  const watches = new Map<string, Position | null>();
  for (const watcher of watchers) {
    const position = watcher.position();
    const known = watches.get(watcher.jobId);
    if (!known || (position && isAfter(position, known))) watches.set(watcher.jobId, position ?? known ?? null);
  }
  post({
    kind: "wants",
    visible: shown,
    online: navigator.onLine,
    turned: hasTurned && shown,
    watches: [...watches].map(([jobId, position]) => ({ jobId, position })),
    changes: [...lists].map(({ filters }) => filters),
  });
  hasTurned = false;
}

function isAfter(one: Position, other: Position): boolean {
  return one.attempt !== other.attempt ? one.attempt > other.attempt : one.offset > other.offset;
}

function post(message: ToHub) {
  if (!port) {
    port = connect();
    listen();
  }
  port.postMessage(message);
}

function take({ data }: MessageEvent<FromHub>) {
  hear(data);
}

function hear(message: FromHub) {
  if (message.kind === "reach") {
    reach = message.reach;
    for (const listener of reachListeners) listener(reach);
  } else if (message.kind === "change") {
    for (const list of lists) list.take(message.change);
  } else {
    for (const watcher of watchers) if (watcher.jobId === message.jobId) watcher.take(message);
  }
}

function connect(): MessagePort {
  if (typeof SharedWorker !== "function") return ownHub();
  const url = scriptUrl(new URL(workerUrl, document.baseURI));
  const worker = new SharedWorker(url, { type: "module", name: apiUrl });
  worker.onerror = () => {
    // Its file is gone, such as after an update of the server, or may not be loaded.
    port = ownHub();
    plan(true);
  };
  worker.port.onmessage = take;
  return worker.port;
}

function ownHub(): MessagePort {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = take;
  void joinOwnHub(port2);
  return port1;
}

async function joinOwnHub(far: MessagePort) {
  for (let failures = 0; ; failures += 1) {
    try {
      const { Hub } = await readAgain(() => import("./hub"));
      return new Hub(apiUrl, 1).join(far);
    } catch {
      hear({ kind: "reach", reach: "unreachable" });
      const { firstRetry, longestRetry } = TIMINGS;
      await new Promise((resolve) => setTimeout(resolve, backoff(failures, firstRetry, longestRetry)));
    }
  }
}

/** Tell the hub when this tab is hidden for long, shown, offline and online, and when it goes. */
function listen() {
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.visibilityState === "visible") {
      shown = true;
      plan(true);
    } else {
      hiding = setTimeout(() => {
        shown = false;
        plan(false);
      }, HIDDEN_MS);
    }
  });
  addEventListener("focus", () => plan(true));
  addEventListener("online", () => plan(true));
  addEventListener("offline", () => plan(false));
  addEventListener("pagehide", () => port?.postMessage({ kind: "bye" } satisfies ToHub));
  addEventListener("pageshow", (event) => {
    if (event.persisted) plan(true);
  });
  setInterval(() => {
    if (shown) plan(false);
  }, PING_MS);
}
