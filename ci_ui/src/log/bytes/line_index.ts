const LINE_FEED = 10;

/** Of so many lines, the index keeps where one begins. */
export const EVERY = 1_000;

/** Finds where lines begin in bytes that arrive piece by piece, the first of which begins a line at `position`. */
export class LineStarts {
  private begins = true;

  constructor(public position: number) {}

  append(bytes: Uint8Array, found: (offset: number) => void): void {
    if (bytes.length === 0) return;
    if (this.begins) found(this.position);
    let at = bytes.indexOf(LINE_FEED);
    while (at !== -1 && at + 1 < bytes.length) {
      found(this.position + at + 1);
      at = bytes.indexOf(LINE_FEED, at + 1);
    }
    this.begins = at !== -1;
    this.position += bytes.length;
  }
}

/**
 * Where lines begin in the bytes that have been seen, from the first byte of the log on: of the first of every thousand,
 * and of each of the last thousand.
 */
export class LineIndex {
  private readonly offsets: number[];
  /** Where each line since the last of `offsets` begins; before that one has been read, the full thousand before it. */
  private last: number[];
  private readonly starts: LineStarts;

  /** Begin with what another index knows: offsets of every thousandth line. Bytes from the last of them on are to follow. */
  constructor(offsets: readonly number[] = []) {
    this.offsets = offsets.slice(0, -1);
    this.last = offsets.length > 1 ? new Array<number>(EVERY).fill(0) : [];
    this.starts = new LineStarts(offsets.at(-1) ?? 0);
  }

  /** How many bytes have been seen. */
  get size(): number {
    return this.starts.position;
  }

  /** How many lines they have; a last one without a line feed counts. */
  get lines(): number {
    return this.offsets.length === 0 ? 0 : (this.offsets.length - 1) * EVERY + this.last.length;
  }

  /** Take the bytes that follow those that have been seen. */
  append(bytes: Uint8Array): void {
    this.starts.append(bytes, (offset) => {
      if (this.offsets.length === 0 || this.last.length === EVERY) {
        this.offsets.push(offset);
        this.last = [];
      }
      this.last.push(offset);
    });
  }

  /** Return where the line begins that is the first of its thousand. */
  ofThousand(thousand: number): number {
    return this.offsets[thousand] ?? this.size;
  }

  /** Return where each line of the last thousand begins, if that is the one; it may grow later. */
  lastThousand(thousand: number): readonly number[] | null {
    return thousand === this.offsets.length - 1 ? this.last : null;
  }

  /** Return the number of the last thousand that begins at or before the byte. */
  thousandAt(offset: number): number {
    let low = 0;
    let high = this.offsets.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.offsets[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  }
}
