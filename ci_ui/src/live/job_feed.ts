import type { Schemas } from "../api/client";
import { ask, backoff, pause, Trouble } from "./asking";
import { type AboutJob, cursorOf, type Job, type Mode, type Position, positionOf } from "./protocol";
import type { ServerEvent } from "./server_events";
import type { Slots } from "./slots";
import { follow } from "./streaming";
import type { Timings } from "./timings";

type JobEvent =
  | Schemas["StatusEvent"]
  | Schemas["StepEvent"]
  | Schemas["LogEvent"]
  | Schemas["AttemptEvent"]
  | Schemas["CompleteEvent"]
  | Schemas["RefusedEvent"];

/** What the feed of a job needs of the hub. */
export interface Host {
  readonly api: string;
  readonly timings: Timings;
  readonly slots: Slots;
  tell(feed: JobFeed, message: AboutJob): void;
  /** A request has failed. */
  trouble(error: Trouble): void;
  /** Nothing arrives on a stream. */
  heldBack(): void;
  /** A stream delivers. */
  flows(): void;
  /** Decide again what each feed does. */
  arrange(): void;
}

const QUICK_MS = 5_000;
const MOST_QUICK_ENDS = 4;

/** What is known of one job, and the one stream or the questions by which more becomes known. */
export class JobFeed {
  readonly jobId: string;
  /** How much of the log has been told. Null while that does not matter. */
  position: Position | null = null;
  /** Feeds with a higher rank get a stream first. */
  rank = 0;
  isVisible = false;
  /** Nothing more will come. */
  isOver = false;
  mode: Mode = "connecting";
  /** When the job was last asked for. */
  asked = 0;
  /** When it may be asked for again, or its stream be tried. */
  notBefore = 0;
  /** What a tab that comes late has to be told. */
  readonly last = new Map<AboutJob["kind"], AboutJob>();
  readonly #host: Host;
  #stream: AbortController | null = null;
  #failures = 0;
  #refreshing: ReturnType<typeof setTimeout> | undefined;

  constructor(jobId: string, host: Host) {
    this.jobId = jobId;
    this.#host = host;
  }

  get isStreaming(): boolean {
    return this.#stream !== null;
  }

  /** Follow the job's stream from the position on, if there is a slot for one. */
  start() {
    if (this.#stream || this.isOver) return;
    const control = new AbortController();
    this.#stream = control;
    this.setMode("connecting");
    void this.#run(control.signal).finally(() => {
      if (this.#stream === control) this.#stream = null;
      this.#host.arrange();
    });
  }

  stop() {
    this.#stream?.abort();
    this.#stream = null;
    clearTimeout(this.#refreshing);
    this.#refreshing = undefined;
  }

  /** Ask for the job, and tell of it and how long its log is. Does not throw. */
  async ask(): Promise<void> {
    this.asked = Date.now();
    try {
      const signal = AbortSignal.timeout(this.#host.timings.silence);
      const answer = await ask(`${this.#host.api}/jobs/${encodeURIComponent(this.jobId)}`, { signal });
      this.#took((await answer.json()) as Job);
    } catch (error) {
      this.#failed(error);
    }
  }

  #took(job: Job) {
    this.#tell({ kind: "job", jobId: this.jobId, job });
    if (this.mode !== "live" && this.position) {
      this.position = { attempt: job.attempt, offset: job.log_bytes ?? 0 };
      this.#host.tell(this, { kind: "position", jobId: this.jobId, position: this.position });
    }
    this.#failures = 0;
    if (job.status === "completed") this.#finish();
  }

  async #run(signal: AbortSignal): Promise<void> {
    let quickEnds = 0;
    while (!signal.aborted && !this.isOver) {
      const slot = await this.#host.slots.take();
      if (!slot) {
        this.notBefore = Date.now() + this.#host.timings.poll;
        return;
      }
      const began = Date.now();
      let outcome: Awaited<ReturnType<typeof follow>>;
      try {
        outcome = await follow(this.#request(signal), (event) => this.#heard(event));
      } catch (error) {
        if (!signal.aborted) this.#failed(error);
        return;
      } finally {
        slot();
      }
      if (signal.aborted || this.isOver) return;
      if (outcome === "nothing_follows") {
        this.notBefore = Date.now() + this.#host.timings.poll;
        return this.ask();
      }
      quickEnds = Date.now() - began < QUICK_MS ? quickEnds + 1 : 0;
      if (outcome === "silent" || quickEnds > MOST_QUICK_ENDS) return this.#host.heldBack();
      this.setMode("connecting");
      await pause(backoff(quickEnds, this.#host.timings.firstRetry / 2, this.#host.timings.longestRetry), signal);
    }
  }

  #request(signal: AbortSignal) {
    const { api, timings } = this.#host;
    return {
      url: `${api}/jobs/${encodeURIComponent(this.jobId)}/stream`,
      lastId: this.position && cursorOf(this.position),
      signal,
      firstByte: timings.firstByte,
      silence: timings.silence,
    };
  }

  #heard(event: ServerEvent) {
    if (!event.data) return;
    this.setMode("live");
    this.#host.flows();
    const said = JSON.parse(event.data) as JobEvent;
    switch (said.type) {
      case "log":
        return this.#tookLog(said, positionOf(event.id ?? ""));
      case "attempt":
        if (this.position) this.position = { attempt: said.attempt, offset: 0 };
        return this.#refresh(0);
      case "complete":
        this.isOver = true; // Until the job has been asked for, so that the stream is not opened again.
        void this.ask();
        return;
      case "refused":
        return this.#failed(new Trouble("signed_out"));
      default:
        return this.#refresh(this.#host.timings.refresh);
    }
  }

  #tookLog(said: Schemas["LogEvent"], after: Position) {
    const bytes = said.base64
      ? Uint8Array.from(atob(said.base64), (char) => char.charCodeAt(0))
      : new TextEncoder().encode(said.data);
    this.position = after;
    const { attempt, offset } = after;
    this.#host.tell(this, { kind: "chunk", jobId: this.jobId, attempt, offset: offset - bytes.length, bytes });
  }

  /** Ask for the job soon, once for all changes until then. */
  #refresh(after: number) {
    this.#refreshing ??= setTimeout(() => {
      this.#refreshing = undefined;
      void this.ask();
    }, after);
  }

  #failed(cause: unknown) {
    const error = cause instanceof Trouble ? cause : new Trouble("busy");
    if (error.why === "gone") {
      this.#tell({ kind: "gone", jobId: this.jobId });
      return this.#finish();
    }
    this.isOver = false;
    if (error.why !== "busy") return this.#host.trouble(error);
    const { poll, longestRetry } = this.#host.timings;
    this.notBefore = Date.now() + Math.max(error.pause, backoff(this.#failures++, poll, longestRetry));
  }

  #finish() {
    this.isOver = true;
    this.stop();
    this.#host.arrange();
  }

  /** Note how news of the job arrive, and tell of it if that has changed. */
  setMode(mode: Mode) {
    if (mode === this.mode) return;
    this.mode = mode;
    this.#host.tell(this, { kind: "mode", jobId: this.jobId, mode });
  }

  #tell(message: AboutJob) {
    this.last.set(message.kind, message);
    this.#host.tell(this, message);
  }
}
