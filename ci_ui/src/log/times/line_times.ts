import { isTemporary } from "../../api/problem";

/** What the server tells of the times of a part of a log. */
export interface ToldTimes {
  /** Where the part ends of which times are told. */
  end: number;
  times: { offset: number; time: string }[];
}

/** A line, and the byte at which it begins. */
export interface Place {
  line: number;
  offset: number;
}

const KEPT = 6_000;
const AGAIN_MS = 500;

/** When lines were written, read for those that are shown. */
export class LineTimes {
  private readonly known = new Map<number, number | null>();
  private next: Place[] | null = null;
  private isReading = false;
  private isWanted = false;

  constructor(
    private readonly read: (start: number, end: number) => Promise<ToldTimes>,
    /** Whether the log may gain times that are not known yet. */
    private readonly mayGrow: () => boolean,
    private readonly changed: () => void,
  ) {}

  /** Return when a line was begun, in milliseconds; null if that is not known, or not yet. */
  of(line: number): number | null {
    return this.known.get(line) ?? null;
  }

  /** Read the times of these lines, which are in order, unless they have been read; what was wanted before is forgotten. */
  want(places: readonly Place[]): void {
    const missing = places.filter(({ line }) => !this.known.has(line));
    if (missing.length === 0) return;
    this.isWanted = true;
    this.next = missing;
    if (!this.isReading) void this.readAll();
  }

  /** Read no more until something is wanted. */
  stop(): void {
    this.isWanted = false;
    this.next = null;
  }

  private async readAll(): Promise<void> {
    this.isReading = true;
    while (this.next) {
      const wanted = this.next;
      this.next = null;
      const left = await this.readSome(wanted).catch((error: unknown) => (isTemporary(error) ? wanted : []));
      this.changed();
      if (left.length === 0) continue;
      if (left.length === wanted.length) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      if (this.isWanted) this.next ??= left;
    }
    this.isReading = false;
  }

  /** Return those of which nothing is known yet. */
  private async readSome(wanted: Place[]): Promise<Place[]> {
    const first = wanted[0]?.offset ?? 0;
    const told = await this.read(first, (wanted.at(-1)?.offset ?? 0) + 1);
    let at = 0;
    for (const { line, offset } of wanted) {
      if (offset >= told.end) break;
      while ((told.times[at + 1]?.offset ?? Number.POSITIVE_INFINITY) <= offset) at += 1;
      this.keep(line, Date.parse(told.times[at]?.time ?? ""));
    }
    const left = wanted.filter(({ offset }) => offset >= told.end);
    if (told.end > first || this.mayGrow()) return left;
    for (const { line } of left) this.keep(line, null);
    return [];
  }

  private keep(line: number, time: number | null): void {
    this.known.set(line, time);
    for (const oldest of this.known.keys()) {
      if (this.known.size <= KEPT) break;
      this.known.delete(oldest);
    }
  }
}
