/** A browser's elements have a greatest height: 33,554,428 pixels in Chromium, about 17.9 million in Firefox. */
export const TALLEST = 14_400_000;

/**
 * Where the scroll bar stands for a position in rows, and back. Up to TALLEST pixels of rows it is the same; beyond, the
 * bar is shorter than the rows are.
 */
export class Scale {
  /** The height of all rows, in pixels. */
  readonly total: number;
  /** The height of the element that is scrolled. */
  readonly height: number;

  constructor(
    total: number,
    private readonly viewport: number,
  ) {
    this.total = Math.max(total, viewport);
    this.height = Math.min(this.total, TALLEST);
  }

  /** Whether a pixel of the scroll bar is a pixel of the rows. */
  get isExact(): boolean {
    return this.total === this.height;
  }

  /** The largest position of the first visible pixel. */
  get end(): number {
    return this.total - this.viewport;
  }

  /** Return where the bar stands for a position, in pixels of rows. */
  toBar(position: number): number {
    if (this.isExact) return position;
    return (position / this.end) * (this.height - this.viewport);
  }

  /** Return the position for which the bar stands there. */
  fromBar(bar: number): number {
    if (this.isExact) return bar;
    return Math.min(this.end, (bar / (this.height - this.viewport)) * this.end);
  }

  /**
   * Return the position after the bar was moved by the reader. A movement of less than two windows is that of a wheel, a
   * finger or a key: it moves the rows by as many pixels. A larger one is that of the bar itself.
   */
  moved(position: number, from: number, to: number): number {
    if (this.isExact) return to;
    const step = to - from;
    if (Math.abs(step) >= 2 * this.viewport) return this.fromBar(to);
    return Math.min(this.end, Math.max(0, position + step));
  }
}
