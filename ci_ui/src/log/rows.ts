/** What a line of a log looks like: what the worker makes of its bytes, and React shows. */

/** No colour: -1; a colour of the palette: 0 to 255; a true colour: TRUE_COLOUR + 0xRRGGBB. */
export type Colour = number;

export const NO_COLOUR: Colour = -1;
export const TRUE_COLOUR = 0x1000000;

export const BOLD = 1;
export const DIM = 2;
export const ITALIC = 4;
export const UNDERLINE = 8;
export const INVERSE = 16;
export const STRIKE = 32;
export const CONCEALED = 64;

export interface Style {
  foreground: Colour;
  background: Colour;
  /** A sum of BOLD, DIM and so on. */
  flags: number;
  /** An http or https URL, or empty. */
  link: string;
}

export const PLAIN: Style = { foreground: NO_COLOUR, background: NO_COLOUR, flags: 0, link: "" };

/** A stretch of text in one style. */
export interface Run {
  text: string;
  style: Style;
}

export interface Row {
  /** Counted from 1. */
  line: number;
  /** The byte of the log at which it begins. */
  offset: number;
  runs: Run[];
  /** The line as it is in the log, where that is not the text of the runs; null where it is. */
  source: string | null;
  /** How many bytes of the line are not shown. */
  hiddenBytes: number;
}

/** Return what a row says, without its styles. */
export function textOf(row: Row): string {
  return row.runs.length === 1 ? (row.runs[0]?.text ?? "") : row.runs.map((run) => run.text).join("");
}
