/** Lines that a link leads to, counted from 1. */
export interface LineRange {
  first: number;
  last: number;
}

const HASH = /^#L(\d{1,15})(?:-L?(\d{1,15}))?$/;

/** Return the lines that `#L14` or `#L14-L27` names, or null for another fragment. */
export function rangeOfHash(hash: string): LineRange | null {
  const parts = HASH.exec(hash);
  if (!parts) return null;
  const one = Number(parts[1]);
  const other = Number(parts[2] ?? parts[1]);
  if (one < 1 || other < 1) return null;
  return { first: Math.min(one, other), last: Math.max(one, other) };
}

/** Return the fragment that leads to lines, or nothing for null. */
export function hashOfRange(range: LineRange | null): string {
  if (!range) return "";
  return range.first === range.last ? `#L${range.first}` : `#L${range.first}-L${range.last}`;
}

/** Return the range from the line where a selection began to the one where it ends. */
export function rangeBetween(anchor: number, line: number): LineRange {
  return { first: Math.min(anchor, line), last: Math.max(anchor, line) };
}
