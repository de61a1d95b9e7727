import type { Trouble } from "./asking";
import { ChangesFeed, type ChangesHost } from "./changes_feed";
import { Gate } from "./gate";
import { type Host, JobFeed } from "./job_feed";
import { type AboutJob, type Change, type FromHub, matches, type Reach, type ToHub } from "./protocol";
import { SLOTS, Slots } from "./slots";
import { TIMINGS, type Timings } from "./timings";

type Wants = Extract<ToHub, { kind: "wants" }>;

interface Tab {
  port: MessagePort;
  wants: Wants;
  heard: number;
  visible: boolean;
}

/** What all tabs of a browser share: the few streams that it may have open, and what arrives on them. */
export class Hub implements Host, ChangesHost {
  readonly api: string;
  readonly timings: Timings;
  readonly slots: Slots;
  readonly #gate: Gate;
  readonly #tabs = new Map<MessagePort, Tab>();
  readonly #feeds = new Map<string, JobFeed>();
  readonly #changes: ChangesFeed;
  #reach: Reach = "reachable";
  #rank = 0;
  #heldBackUntil = 0;
  #heldBackTimes = 0;
  #listsRead = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isAsking = false;

  /** `alone` is how many streams this hub opens where it cannot know of others. */
  constructor(api: string, alone: number, timings: Timings = TIMINGS) {
    this.api = api;
    this.timings = timings;
    this.slots = new Slots(api, alone);
    this.#gate = new Gate(api, timings, () => this.arrange());
    this.#changes = new ChangesFeed(this);
  }

  /** Serve a tab. */
  join(port: MessagePort) {
    port.onmessage = (event: MessageEvent<ToHub>) => this.#take(port, event.data);
    this.#post(port, { kind: "reach", reach: this.#reach });
  }

  #take(port: MessagePort, said: ToHub) {
    if (said.kind === "signed_in") return this.#gate.signIn();
    if (said.kind === "bye") {
      this.#tabs.delete(port);
      return this.arrange();
    }
    const before = this.#tabs.get(port);
    const tab = { port, wants: said, heard: Date.now(), visible: said.visible && said.online };
    this.#tabs.set(port, tab);
    if (said.turned) this.#rank += 1;
    if (said.turned || (said.online && !before?.wants.online)) this.#gate.hurry();
    for (const watch of said.watches) {
      const feed = this.#feeds.get(watch.jobId) ?? new JobFeed(watch.jobId, this);
      this.#feeds.set(watch.jobId, feed);
      if (said.turned) feed.rank = this.#rank;
      if (!before?.wants.watches.some(({ jobId }) => jobId === watch.jobId)) {
        for (const message of feed.last.values()) this.#post(port, message);
        this.#post(port, { kind: "mode", jobId: watch.jobId, mode: feed.mode });
      }
      if (!tab.visible || !watch.position) continue;
      if (feed.position) this.#post(port, { kind: "position", jobId: watch.jobId, position: feed.position });
      else {
        if (feed.isStreaming) feed.stop(); // It has begun where the log was then, which is not known.
        feed.position = watch.position;
      }
    }
    if (tab.visible && said.changes.length && !(before?.visible && before.wants.changes.length)) {
      this.#post(port, { kind: "change", change: { kind: "reset" } });
    }
    this.arrange();
  }

  tell(feed: JobFeed, message: AboutJob) {
    for (const tab of this.#tabs.values()) {
      const watch = tab.wants.watches.find(({ jobId }) => jobId === feed.jobId);
      if (!watch || (message.kind === "chunk" && !(tab.visible && watch.position))) continue;
      this.#post(tab.port, message);
    }
  }

  changed(change: Change) {
    if (change.kind !== "reset") {
      const feed = this.#feeds.get(change.kind === "job" ? change.job.job_id : change.jobId);
      if (feed) feed.asked = 0;
    }
    for (const { port, visible, wants } of this.#tabs.values()) {
      if (!visible || !wants.changes.length) continue;
      if (change.kind === "job" && !wants.changes.some((filters) => matches(filters, change.job))) continue;
      this.#post(port, { kind: "change", change });
    }
    this.arrange();
  }

  trouble(error: Trouble) {
    if (error.why === "signed_out") this.#gate.signOut();
    else this.#gate.fail(error.pause);
  }

  heldBack() {
    const { heldBack, longestHeldBack } = this.timings;
    this.#heldBackUntil = Date.now() + Math.min(longestHeldBack, heldBack * 2 ** this.#heldBackTimes);
    this.#heldBackTimes += 1;
    this.arrange();
  }

  /** A stream has delivered something. */
  flows() {
    if (!this.#heldBackTimes) return;
    this.#heldBackTimes = 0;
    this.arrange();
  }

  arrange() {
    const now = Date.now();
    this.#forget(now);
    const passes = this.#gate.passes;
    const streams = passes && now >= this.#heldBackUntil;
    const lists = [...this.#tabs.values()].some(({ visible, wants }) => visible && wants.changes.length > 0);
    if (lists && streams) this.#changes.start();
    else this.#changes.stop(lists);
    const shown = [...this.#feeds.values()].filter((feed) => feed.isVisible).sort((a, b) => b.rank - a.rank);
    const chosen = new Set(shown.slice(0, streams ? SLOTS - (lists ? 1 : 0) : 0));
    for (const feed of this.#feeds.values()) {
      if (!chosen.has(feed)) feed.stop();
      else if (now >= feed.notBefore) feed.start();
      if (feed.isOver) continue;
      if (!passes || !feed.isVisible) feed.setMode("waiting");
      else if (!feed.isStreaming) feed.setMode(streams ? "polling_many" : "polling_held_back");
    }
    this.#setReach(this.#reachNow());
    this.#schedule(now, lists && passes && !streams);
  }

  /** Leave out what no tab wants any more. */
  #forget(now: number) {
    for (const tab of this.#tabs.values()) {
      if (now - tab.heard > this.timings.unheard) tab.visible = false;
    }
    for (const feed of this.#feeds.values()) {
      const watching = [...this.#tabs.values()].filter(({ wants }) =>
        wants.watches.some(({ jobId }) => jobId === feed.jobId),
      );
      feed.isVisible = !feed.isOver && watching.some(({ visible }) => visible);
      if (!watching.some(({ visible }) => visible)) feed.position = null;
      if (watching.length) continue;
      feed.stop();
      this.#feeds.delete(feed.jobId);
    }
  }

  #reachNow(): Reach {
    if (this.#gate.isSignedOut) return "signed_out";
    if (!this.#gate.isOpen) return "unreachable";
    return this.#heldBackTimes ? "held_back" : "reachable";
  }

  #setReach(reach: Reach) {
    if (reach === this.#reach) return;
    this.#reach = reach;
    for (const port of this.#tabs.keys()) this.#post(port, { kind: "reach", reach });
  }

  /** Ask for the next job that has no stream, when its turn has come. */
  #schedule(now: number, readsLists: boolean) {
    clearTimeout(this.#timer);
    if (this.#isAsking || !this.#gate.passes || this.#tabs.size === 0) return;
    const turns = [...this.#feeds.values()]
      .filter((feed) => feed.mode !== "live" && !feed.isOver)
      .map((feed) => ({ feed, due: this.#due(feed) }))
      .sort((a, b) => a.due - b.due);
    const next = turns[0];
    const lists = readsLists ? this.#listsRead + this.timings.lists : Number.POSITIVE_INFINITY;
    const wait = Math.min(next?.due ?? Number.POSITIVE_INFINITY, lists) - now;
    // Also without a turn, tabs that have gone silently are to be noticed.
    this.#timer = setTimeout(() => void this.#turn(next?.feed, lists), Math.max(0, Math.min(wait, this.timings.lists)));
  }

  #due(feed: JobFeed): number {
    return Math.max(feed.notBefore, feed.asked + (feed.isVisible ? this.timings.poll : this.timings.hiddenPoll));
  }

  async #turn(feed: JobFeed | undefined, lists: number) {
    const now = Date.now();
    if (now >= lists) {
      this.#listsRead = now;
      this.changed({ kind: "reset" });
    }
    if (feed && now >= this.#due(feed)) {
      this.#isAsking = true;
      await feed.ask();
      this.#isAsking = false;
    }
    this.arrange();
  }

  #post(port: MessagePort, message: FromHub) {
    port.postMessage(message);
  }
}
