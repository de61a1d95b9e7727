/** A point of a trend: one job. */
export interface Point {
  id: string;
  /** Where the point leads to. */
  href: string;
  /** What the point says when the mouse is over it. */
  label: string;
  /** Null: nothing was measured. */
  value: number | null;
  good: boolean;
}

export interface Placed extends Point {
  /** Where its place begins, from the left, in places. */
  x: number;
  /** Its height: a part of the scale, from 0 to 1. */
  height: number;
}

const FEWEST_PLACES = 30;

/** Return how many places a chart has: a few points are at its right end, and do not become as wide as walls. */
export function placesFor(points: number): number {
  return Math.max(points, FEWEST_PLACES);
}

/** Place points, the oldest first, on a scale from `low` to `high`. */
export function placed(points: Point[], low: number, high: number): Placed[] {
  const offset = placesFor(points.length) - points.length;
  const span = high - low;
  return points.map((point, index) => ({
    ...point,
    x: offset + index,
    height: point.value === null ? 0 : span > 0 ? (point.value - low) / span : 1,
  }));
}

/** Return the lowest and the highest of the values that were measured; null if none was. */
export function rangeOf(points: Point[]): [number, number] | null {
  const values = points.flatMap((point) => (point.value === null ? [] : [point.value]));
  return values.length ? [Math.min(...values), Math.max(...values)] : null;
}
