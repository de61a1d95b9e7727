import { Remembered } from "./remembered";

export const CHUNK_BYTES = 256 * 1024;
const MOST_CHUNKS = 192;

/** Reads bytes of a log, from `start` up to `end`. */
export type ReadBytes = (start: number, end: number) => Promise<Uint8Array>;

interface Chunk {
  bytes: Uint8Array;
  /** How many of the bytes are known. */
  length: number;
}

/** The parts of a log that were read lately: at most 48 MiB of them, however large it is. Others are read again. */
export class Chunks {
  private readonly chunks = new Remembered<number, Chunk>(MOST_CHUNKS);
  private readonly reading = new Map<number, Promise<Chunk>>();

  constructor(private readonly fetch: ReadBytes) {}

  /** Return the bytes from `start` up to `end`, all of which the log must have. */
  async read(start: number, end: number): Promise<Uint8Array> {
    const first = Math.floor(start / CHUNK_BYTES);
    if (end <= (first + 1) * CHUNK_BYTES) {
      const { bytes } = await this.chunk(first, end);
      return bytes.subarray(start - first * CHUNK_BYTES, end - first * CHUNK_BYTES);
    }
    const result = new Uint8Array(end - start);
    for (let number = first; number * CHUNK_BYTES < end; number += 1) {
      const base = number * CHUNK_BYTES;
      const { bytes } = await this.chunk(number, Math.min(end, base + CHUNK_BYTES));
      const from = Math.max(start, base);
      result.set(bytes.subarray(from - base, Math.min(end - base, CHUNK_BYTES)), from - start);
    }
    return result;
  }

  /** Return whether the chunk with the byte has all bytes up to `end`, or up to its own end. */
  has(offset: number, end: number): boolean {
    const number = Math.floor(offset / CHUNK_BYTES);
    const needed = Math.min(end - number * CHUNK_BYTES, CHUNK_BYTES);
    return (this.chunks.get(number)?.length ?? 0) >= needed;
  }

  /** Take bytes that have arrived, so that they need not be read. */
  put(offset: number, bytes: Uint8Array): void {
    let taken = 0;
    while (taken < bytes.length) {
      const number = Math.floor((offset + taken) / CHUNK_BYTES);
      const within = offset + taken - number * CHUNK_BYTES;
      const part = bytes.subarray(taken, taken + CHUNK_BYTES - within);
      const chunk = this.chunks.get(number) ?? { bytes: new Uint8Array(0), length: 0 };
      if (chunk.length >= within) extend(chunk, within, part);
      if (chunk.length > 0) this.chunks.set(number, chunk);
      taken += part.length;
    }
  }

  private async chunk(number: number, end: number): Promise<Chunk> {
    const base = number * CHUNK_BYTES;
    for (;;) {
      const chunk = this.chunks.get(number) ?? { bytes: new Uint8Array(0), length: 0 };
      if (base + chunk.length >= end) return chunk;
      const running = this.reading.get(number);
      if (running) {
        const arrived = await running;
        if (base + arrived.length >= end) return arrived;
        continue;
      }
      const reading = this.complete(number, chunk, end);
      this.reading.set(number, reading);
      try {
        return await reading;
      } finally {
        this.reading.delete(number);
      }
    }
  }

  private async complete(number: number, chunk: Chunk, end: number): Promise<Chunk> {
    const base = number * CHUNK_BYTES;
    const known = chunk.length;
    const arrived = await this.fetch(base + known, base + CHUNK_BYTES);
    extend(chunk, known, arrived);
    if (base + chunk.length < end) throw new RangeError(`the log ends before byte ${end}`);
    this.chunks.set(number, chunk);
    return chunk;
  }
}

/** Write `part` at `within`, which is not behind the end of what is known. */
function extend(chunk: Chunk, within: number, part: Uint8Array): void {
  const length = Math.max(chunk.length, within + part.length);
  if (length > chunk.bytes.length) {
    const larger = new Uint8Array(Math.min(CHUNK_BYTES, Math.max(length, chunk.bytes.length * 2)));
    larger.set(chunk.bytes.subarray(0, chunk.length));
    chunk.bytes = larger;
  }
  chunk.bytes.set(part, within);
  chunk.length = length;
}
