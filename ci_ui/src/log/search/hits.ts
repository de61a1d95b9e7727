/** Into how many parts the scroll bar is divided for its marks. */
const PARTS = 300;

/** Lines with hits, in order, each as often as it has hits. */
export class Hits {
  private lines = new Float64Array(1_024);
  count = 0;

  add(more: Float64Array): void {
    if (this.count + more.length > this.lines.length) {
      const larger = new Float64Array(Math.max(this.lines.length * 2, this.count + more.length));
      larger.set(this.lines.subarray(0, this.count));
      this.lines = larger;
    }
    this.lines.set(more, this.count);
    this.count += more.length;
  }

  lineOf(hit: number): number {
    return this.lines[hit] ?? 0;
  }

  /** Return the first hit in the line or after it, or how many hits there are. */
  firstFrom(line: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.lines[middle] ?? 0) < line) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Return which hit of its line it is, counted from 0. */
  withinLine(hit: number): number {
    return hit - this.firstFrom(this.lineOf(hit));
  }

  /** Return the parts of the log, from 0 to 1, in which there are hits. */
  marks(lines: number): number[] {
    const parts: number[] = [];
    for (let hit = 0; hit < this.count; ) {
      const part = Math.min(PARTS - 1, Math.floor(((this.lineOf(hit) - 1) / Math.max(1, lines)) * PARTS));
      parts.push(part / PARTS);
      hit = Math.max(hit + 1, this.firstFrom(Math.ceil(((part + 1) / PARTS) * lines) + 1));
    }
    return parts;
  }
}
