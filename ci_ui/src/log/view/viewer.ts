import type { Arrangement } from "./arrangement";
import type { Position } from "./held";
import { Scale } from "./scale";

/** The height of a row, in pixels; with long lines wrapped, a row has one or more times that. */
export const ROW_HEIGHT = 18;
const OVERSCAN = 12;
const SETTLED_MS = 120;

/** What is rendered: places `first` up to and without `end`. */
export interface Window {
  first: number;
  end: number;
}

interface Parts {
  scroller: HTMLElement;
  rows: HTMLElement;
}

/**
 * Where the reader is. The position is a place and pixels below its top edge; the scroll bar is set from it, and moves it
 * when the reader moves the bar. Growth of the log changes the bar and never the position, unless the end is followed.
 */
export class Viewer {
  place = 0;
  offset = 0;
  follows = false;
  wraps = false;
  height = 0;
  /** What is shown in place of the position while its lines are being read. */
  held: Position | null = null;
  private arrangement: Arrangement;
  private parts: Parts | null = null;
  /** Where the bar was set last. */
  private bar = 0;
  /** The mean height of a row while lines wrap. */
  private mean = ROW_HEIGHT;
  private settling = 0;

  constructor(
    arrangement: Arrangement,
    private readonly changed: () => void,
  ) {
    this.arrangement = arrangement;
  }

  get scale(): Scale {
    return new Scale(this.arrangement.count * (this.wraps ? this.mean : ROW_HEIGHT), this.height);
  }

  /** How many rows fit into the window. */
  get capacity(): number {
    return Math.max(1, Math.ceil(this.height / ROW_HEIGHT));
  }

  /** The places that are looked at, with some around them. */
  get window(): Window {
    return this.around(this.place);
  }

  /** The places that are rendered. */
  get rendered(): Window {
    return this.around((this.held ?? this).place);
  }

  attach(parts: Parts): void {
    this.parts = parts;
  }

  resize(height: number): void {
    if (height === this.height) return;
    this.height = height;
    this.arrange(this.arrangement);
  }

  /** Show other places, with the same line at the top, or the end if that is followed. */
  arrange(arrangement: Arrangement): void {
    const top = this.arrangement.at(this.place);
    if (arrangement !== this.arrangement) {
      const line = top.kind === "line" ? top.line : top.section.first;
      const before = this.arrangement.placeOf(line) - this.place;
      this.arrangement = arrangement;
      this.place = Math.max(0, arrangement.placeOf(line) - before);
    }
    if (this.follows) this.toEnd();
    else this.changed();
  }

  setWraps(wraps: boolean): void {
    this.wraps = wraps;
    this.mean = ROW_HEIGHT;
    this.offset = 0;
    this.arrange(this.arrangement);
  }

  /** Go to the end, and follow it from now on. */
  toEnd(): void {
    this.follows = true;
    this.setPosition(this.arrangement.count * ROW_HEIGHT - this.height);
    this.changed();
  }

  /** Go to a place: a third below the top edge, or, if it is visible and `gently` is true, not at all. */
  goTo(place: number, gently = false): void {
    const isVisible = place > this.place && place < this.place + this.capacity - 1;
    if (gently && isVisible) return;
    this.follows = false;
    const above = Math.floor(this.capacity / 3);
    this.setPosition(Math.max(0, place - above) * ROW_HEIGHT);
    this.changed();
  }

  /** The reader has moved the scroll bar. */
  scrolled(): void {
    const bar = this.parts?.scroller.scrollTop ?? 0;
    if (Math.abs(bar - this.bar) < 1) return;
    const { scale } = this;
    const wasAbove = bar < this.bar;
    if (!this.wraps) this.setPosition(scale.moved(this.place * ROW_HEIGHT + this.offset, this.bar, bar));
    else if (Math.abs(bar - this.bar) < 2 * this.height) this.offset += bar - this.bar;
    else this.setPlace((bar / Math.max(1, scale.height - this.height)) * Math.max(0, this.arrangement.count - 1));
    this.bar = bar;
    this.follows = !wasAbove && this.isAtEnd(bar, scale);
    clearTimeout(this.settling);
    this.settling = window.setTimeout(() => this.setBar(), SETTLED_MS);
    this.changed();
  }

  /** Put the rendered rows where they belong. Called when they have been rendered, before they are painted. */
  lay(rendered: Window): void {
    if (!this.parts) return;
    const shift = this.wraps ? this.layWrapped(rendered) : this.layEqual(rendered);
    this.parts.rows.style.transform = `translateY(${-shift}px)`;
    if (this.scale.isExact || this.follows || this.isNearEdge()) this.setBar();
  }

  private isAtEnd(bar: number, scale: Scale): boolean {
    if (this.wraps) return bar >= scale.height - this.height - 1;
    return this.place * ROW_HEIGHT + this.offset >= scale.end - 1;
  }

  private isNearEdge(): boolean {
    const position = this.place * ROW_HEIGHT + this.offset;
    const { scale } = this;
    const near = 2 * this.height;
    return (
      scale.toBar(position) < near !== this.bar < near ||
      position > scale.end - near !== this.bar > scale.height - this.height - near
    );
  }

  private setPosition(position: number): void {
    const end = Math.max(0, this.arrangement.count * ROW_HEIGHT - this.height);
    this.setPlace(Math.min(end, Math.max(0, position)) / ROW_HEIGHT);
  }

  private setPlace(place: number): void {
    this.place = Math.floor(place);
    this.offset = this.wraps ? 0 : (place - this.place) * ROW_HEIGHT;
  }

  private setBar(): void {
    const scroller = this.parts?.scroller;
    if (!scroller) return;
    const { scale } = this;
    const position = this.place * (this.wraps ? this.mean : ROW_HEIGHT) + this.offset;
    const bar = this.follows ? scale.height - this.height : scale.toBar(Math.min(position, scale.end));
    if (Math.abs(scroller.scrollTop - bar) >= 1) scroller.scrollTop = bar;
    this.bar = scroller.scrollTop;
  }

  private layEqual(rendered: Window): number {
    const { place, offset } = this.held ?? this;
    return (place - rendered.first) * ROW_HEIGHT + offset;
  }

  private around(place: number): Window {
    const first = Math.max(0, Math.min(place, this.arrangement.count - 1) - OVERSCAN);
    return { first, end: Math.min(this.arrangement.count, place + this.capacity + OVERSCAN) };
  }

  /** Wrapped lines have heights that only the browser knows: find the row at the top edge among those rendered. */
  private layWrapped(rendered: Window): number {
    const rows = this.parts?.rows;
    if (!rows || rows.children.length === 0) return 0;
    const tops = Array.from(rows.children, (row) => (row as HTMLElement).offsetTop);
    const height = rows.offsetHeight;
    this.learnMean(height / tops.length);
    const hasEnd = rendered.end >= this.arrangement.count;
    let shift = (tops[this.place - rendered.first] ?? 0) + this.offset;
    if (this.follows || hasEnd) shift = Math.min(this.follows ? Number.POSITIVE_INFINITY : shift, height - this.height);
    shift = Math.max(0, shift);
    let index = tops.findLastIndex((top) => top <= shift);
    if (index < 0) index = 0;
    this.place = rendered.first + index;
    this.offset = shift - (tops[index] ?? 0);
    return shift;
  }

  private learnMean(mean: number): void {
    if (Math.abs(mean - this.mean) < this.mean / 4) return;
    this.mean = mean;
    queueMicrotask(this.changed);
  }
}
