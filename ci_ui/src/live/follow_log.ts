import { jobUrl } from "../api/client";
import { ask, backoff, pause, Trouble } from "./asking";
import { type AboutJob, type End, endOf, type Mode, type Position } from "./protocol";
import { watch } from "./tab";

/** How it stands with a log that is followed. */
export type LogState =
  | { kind: Mode }
  /** All of it has been given. The digest is empty where the job has none. */
  | ({ kind: "ended" } & End)
  /** The job has been deleted, or may not be seen. */
  | { kind: "gone" };

/** Takes bytes that lie at an offset of the log. While a promise that it returns is open, nothing more is given. */
export type TakeChunk = (offset: number, bytes: Uint8Array) => void | Promise<void>;

interface Chunk {
  offset: number;
  bytes: Uint8Array;
}

const PIECE_BYTES = 1 << 20;
const MOST_WAITING_BYTES = 8 << 20;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;

/**
 * Give the bytes of a job's log from an offset on: in order, each byte once, what has been written and what is still
 * written, whatever happens to the connection. Returns how to stop.
 *
 * `attempt` is which attempt's log it is, by default that of the first. A later attempt has a log of its own.
 */
export function followLog(
  jobId: string,
  fromOffset: number,
  onChunk: TakeChunk,
  onState: (state: LogState) => void,
  attempt = 1,
): () => void {
  const follower = new Follower(jobId, { attempt, offset: fromOffset }, onChunk, onState);
  void follower.run();
  return () => follower.stop();
}

class Follower {
  readonly #jobId: string;
  readonly #onChunk: TakeChunk;
  readonly #onState: (state: LogState) => void;
  readonly #control = new AbortController();
  readonly #position: Position;
  /** Up to where the log is known to reach. */
  #known = Number.POSITIVE_INFINITY;
  #end: End | null = null;
  #waiting: Chunk[] = [];
  #waitingBytes = 0;
  #wake: (() => void) | null = null;
  #failures = 0;
  #unwatch: (() => void) | null = null;

  constructor(jobId: string, position: Position, onChunk: TakeChunk, onState: (state: LogState) => void) {
    this.#jobId = jobId;
    this.#position = position;
    this.#onChunk = onChunk;
    this.#onState = onState;
  }

  stop() {
    this.#control.abort();
    this.#unwatch?.();
    this.#wake?.();
  }

  /** Give what there is, and then, step by step, what comes. */
  async run(): Promise<void> {
    const { signal } = this.#control;
    this.#onState({ kind: "connecting" });
    while (!signal.aborted) {
      try {
        if (await this.#step()) continue;
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Trouble)) throw error;
        if (error.why === "gone") return this.#finish({ kind: "gone" });
        if (error.why === "signed_out") {
          this.#watch(); // It is told when someone has signed in.
          await this.#news();
          continue;
        }
        const wait = Math.max(error.pause, backoff(this.#failures++, FIRST_RETRY_MS, LONGEST_RETRY_MS));
        await Promise.race([pause(wait, signal), this.#news()]);
        continue;
      }
      if (signal.aborted) return;
      if (!this.#end) {
        this.#watch();
        await this.#news();
      } else if (this.#position.offset >= this.#end.bytes) {
        return this.#finish({ kind: "ended", ...this.#end });
      } else {
        // The rest is about to be there.
        this.#learn(this.#end.bytes);
        await pause(backoff(this.#failures++, FIRST_RETRY_MS, LONGEST_RETRY_MS), signal);
      }
    }
  }

  #watch() {
    this.#unwatch ??= watch({
      jobId: this.#jobId,
      position: () => this.#position,
      take: (message) => this.#take(message),
    });
  }

  /** Give one piece. Returns whether there may be more at once. */
  async #step(): Promise<boolean> {
    const { offset } = this.#position;
    const first = this.#waiting[0];
    if (first && first.offset <= offset) {
      this.#waiting.shift();
      this.#waitingBytes -= first.bytes.length;
      if (first.offset + first.bytes.length > offset) await this.#give(first.bytes.subarray(offset - first.offset));
      return true;
    }
    const until = Math.min(first?.offset ?? Number.POSITIVE_INFINITY, this.#known, offset + PIECE_BYTES);
    return until > offset && this.#fetch(offset, until);
  }

  /** Fetch a part of the log that was not pushed. Throws Trouble. */
  async #fetch(offset: number, until: number): Promise<boolean> {
    const { signal } = this.#control;
    const known = this.#known;
    const url = jobUrl(this.#jobId, `/log?attempt=${this.#position.attempt}`);
    const answer = await ask(url, { headers: { Range: `bytes=${offset}-${until - 1}` }, signal });
    const bytes = answer.status === 416 ? new Uint8Array() : await read(answer);
    this.#failures = 0;
    this.#noteEnd(answer, offset);
    // 200 has the whole log, since it is empty or something on the way does not pass on ranges.
    const news = answer.status === 200 ? bytes.subarray(offset) : bytes;
    const isAll = answer.status === 200 || news.length < until - offset;
    if (isAll && this.#known === known) this.#known = offset + news.length;
    await this.#give(news);
    return news.length > 0;
  }

  /** Only the log of an attempt that has ended has an entity tag: its digest. */
  #noteEnd(answer: Response, offset: number) {
    const tag = answer.headers.get("ETag");
    const total = /\/(\d+)$/.exec(answer.headers.get("Content-Range") ?? "")?.[1];
    if (tag && total) this.#end ??= { bytes: Math.max(Number(total), offset), sha256: tag.replace(/^W\/|"/g, "") };
  }

  async #give(bytes: Uint8Array): Promise<void> {
    if (!bytes.length) return;
    const { offset } = this.#position;
    this.#position.offset += bytes.length;
    await this.#onChunk(offset, bytes);
  }

  #take(message: AboutJob) {
    switch (message.kind) {
      case "chunk":
        if (message.attempt === this.#position.attempt) this.#push(message);
        break;
      case "position":
        if (message.position.attempt === this.#position.attempt) this.#learn(message.position.offset);
        break;
      case "job":
        this.#end = endOf(message.job, this.#position.attempt) ?? this.#end;
        if (this.#end) this.#learn(this.#end.bytes);
        break;
      case "mode":
        this.#onState({ kind: message.mode });
        break;
      case "gone":
        this.#finish({ kind: "gone" });
    }
    this.#wake?.();
  }

  /** Keep a chunk until it is given. What is too much for that is fetched later. */
  #push({ offset, bytes }: Chunk) {
    this.#learn(offset + bytes.length);
    if (this.#waitingBytes + bytes.length > MOST_WAITING_BYTES) return;
    this.#waiting.push({ offset, bytes });
    this.#waitingBytes += bytes.length;
  }

  #learn(known: number) {
    this.#known = Math.max(this.#known, known);
  }

  #news(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = null;
        resolve();
      };
    });
  }

  #finish(state: LogState) {
    if (this.#control.signal.aborted) return;
    this.stop();
    this.#onState(state);
  }
}

async function read(answer: Response): Promise<Uint8Array> {
  try {
    return new Uint8Array(await answer.arrayBuffer());
  } catch {
    throw new Trouble("unreachable");
  }
}
