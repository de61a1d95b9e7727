import type { Extent, LogOfJob } from "../protocol";
import { Chunks } from "./chunks";
import { LineIndex, LineStarts } from "./line_index";
import { Ranges } from "./ranges";
import { Remembered } from "./remembered";

/** A log up to so many bytes is read from its beginning; of a larger one the server's index is asked for. */
const SMALL = 512 * 1024;
const MOST_THOUSANDS = 400;
const PIECE = 4 * 1024 * 1024;
const INDEX_PAUSE_MS = 20;

interface IndexAnswer {
  log_bytes: number;
  indexed_bytes: number;
  offsets: number[];
  first_line: number;
  every: number;
}

/** The bytes of a log and where its lines begin, of which only what is asked for is read and held. */
export class LogBytes {
  readonly ranges: Ranges;
  private readonly chunks: Chunks;
  private index = new LineIndex();
  private ended = false;
  private target: number;
  private readonly thousands = new Remembered<number, readonly number[]>(MOST_THOUSANDS);

  constructor(
    private readonly log: LogOfJob,
    private readonly changed: () => void,
  ) {
    this.ranges = new Ranges(log.url);
    this.chunks = new Chunks((start, end) => this.ranges.read(start, Math.min(end, this.target)));
    this.target = log.size ?? 0;
  }

  get extent(): Extent {
    return { lines: this.index.lines, bytes: this.index.size, complete: this.ended && this.index.size >= this.target };
  }

  /** Learn where lines begin, in everything that the log has so far. Throws Problem and Unreachable. */
  async open(): Promise<void> {
    if (this.log.size === null || this.log.size > SMALL) await this.openByIndex();
    if (this.log.size !== null) {
      this.ended = true;
      await this.readOn(this.log.size);
    }
    this.changed();
  }

  /** Take bytes that the log has gained; what was missed before them is read. */
  async append(offset: number, bytes: Uint8Array): Promise<void> {
    if (this.ended) return;
    if (offset > this.index.size) await this.readOn(offset);
    this.take(bytes.subarray(Math.max(0, this.index.size - offset)));
    this.changed();
  }

  /** The log has ended with so many bytes: read those that are missing. */
  async end(size: number): Promise<void> {
    await this.readOn(size);
    this.ended = true;
    this.changed();
  }

  read(start: number, end: number): Promise<Uint8Array> {
    return this.chunks.read(start, end);
  }

  /** Yield the bytes from `start` up to `end` in pieces, without forgetting others for them. */
  async *pieces(start: number, end: number): AsyncGenerator<Uint8Array> {
    let at = start;
    while (at < end) {
      if (this.chunks.has(at, end)) {
        const next = Math.min(end, (Math.floor(at / (256 * 1024)) + 1) * 256 * 1024);
        yield await this.chunks.read(at, next);
        at = next;
      } else {
        const piece = await this.ranges.read(at, Math.min(at + PIECE, end));
        yield piece;
        at += piece.length;
      }
    }
  }

  /** Return where a line begins, or the end of the log for the one after the last. */
  async startOf(line: number): Promise<number> {
    if (line > this.index.lines) return this.index.size;
    const starts = await this.thousand(Math.floor((line - 1) / 1_000));
    return starts[(line - 1) % 1_000] ?? this.index.size;
  }

  /** Return the line that has the byte, or the one after the last for a byte that is not there yet. */
  async lineAt(offset: number): Promise<number> {
    if (offset >= this.index.size) return this.index.lines + 1;
    const number = this.index.thousandAt(offset);
    const starts = await this.thousand(number);
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return number * 1_000 + low + 1;
  }

  private take(bytes: Uint8Array): void {
    this.target = Math.max(this.target, this.index.size + bytes.length);
    this.chunks.put(this.index.size, bytes);
    this.index.append(bytes);
  }

  private async readOn(end: number): Promise<void> {
    this.target = Math.max(this.target, end);
    while (this.index.size < end) {
      const piece = await this.ranges.read(this.index.size, Math.min(end, this.index.size + PIECE));
      if (piece.length === 0) throw new RangeError(`the log has ${this.index.size} bytes, and not ${end}`);
      this.take(piece);
    }
  }

  private async openByIndex(): Promise<void> {
    const offsets: number[] = [];
    for (;;) {
      const answer = await this.askIndex(offsets.length * 1_000 + 1);
      for (const offset of answer.offsets) offsets.push(offset);
      const whole = answer.indexed_bytes >= answer.log_bytes;
      if (whole && answer.offsets.length < 20_000) {
        this.index = new LineIndex(offsets);
        if (this.log.size === null) await this.readOn(answer.log_bytes);
        return;
      }
      if (!whole) await new Promise((resolve) => setTimeout(resolve, INDEX_PAUSE_MS));
    }
  }

  private async askIndex(fromLine: number): Promise<IndexAnswer> {
    const url = new URL(this.log.indexUrl);
    url.searchParams.set("from_line", String(fromLine));
    const bytes = await new Ranges(url.href).read(0, Number.POSITIVE_INFINITY);
    return JSON.parse(new TextDecoder().decode(bytes)) as IndexAnswer;
  }

  /** Return where each line of a thousand begins. */
  private async thousand(number: number): Promise<readonly number[]> {
    const last = this.index.lastThousand(number);
    if (last) return last;
    const known = this.thousands.get(number);
    if (known) return known;
    const start = this.index.ofThousand(number);
    const end = this.index.ofThousand(number + 1);
    const found: number[] = [];
    const lines = new LineStarts(start);
    for (let at = start; at < end; ) {
      const next = Math.min(end, at + PIECE);
      lines.append(await this.chunks.read(at, next), (offset) => found.push(offset));
      at = next;
    }
    this.thousands.set(number, found);
    return found;
  }
}
