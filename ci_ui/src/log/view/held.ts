/** A position in the log: a place, and pixels below its top edge. */
export interface Position {
  place: number;
  offset: number;
}

const MOST_RECENT = 12;
const LONGEST_HOLD_MS = 400;

/**
 * What is shown while the reader leaps through a log faster than it can be read, as by dragging the scroll bar: the latest
 * position whose lines have arrived, for which they are no longer looked at a moment later.
 */
export class Held {
  private recent: Position[] = [];
  private shownAt = Number.NEGATIVE_INFINITY;

  /** Return what to show in place of `now`; null for itself. `isRead` tells whether all lines at a position are there. */
  instead(now: Position, isRead: (position: Position) => boolean, time: number): Position | null {
    const last = this.recent.at(-1);
    if (last?.place !== now.place || last.offset !== now.offset) this.recent.push({ ...now });
    if (this.recent.length > MOST_RECENT) this.recent.shift();
    const found = this.recent.findLastIndex(isRead);
    const position = this.recent[found];
    if (!position) return null;
    if (found > 0) {
      this.recent.splice(0, found);
      this.shownAt = time;
    }
    if (this.recent.length === 1) {
      this.shownAt = time;
      return null;
    }
    return time - this.shownAt < LONGEST_HOLD_MS ? position : null;
  }

  /** Forget all positions: they are those of other places. */
  forget(): void {
    this.recent = [];
  }
}
