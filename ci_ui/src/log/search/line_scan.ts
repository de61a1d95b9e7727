import { plainText } from "../bytes/scanner";
import { expressionOf, matchesIn, type Query } from "./query";

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what makes a line look other than it is written
const WRITTEN_OTHERWISE = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** Called with each line that matches, and how often. */
export type Found = (line: number, matches: number) => void;

/** Searches whole lines for a query, as they are shown: without colours, and without what is overwritten. */
export class LineScan {
  private readonly expression: RegExp;

  constructor(private readonly query: Query) {
    this.expression = expressionOf(query);
  }

  /** Search text that consists of whole lines, of which the first has the number `first`. Returns how many there are. */
  scan(text: string, first: number, found: Found): number {
    const shown = asShown(text);
    return this.query.isExpression ? this.scanLines(shown, first, found) : this.scanWhole(shown, first, found);
  }

  /** A regular expression may match line feeds, so each line is searched by itself. */
  private scanLines(shown: string, first: number, found: Found): number {
    let line = first;
    for (let start = 0; start < shown.length; line += 1) {
      const end = lineEnd(shown, start);
      const matches = matchesIn(shown.slice(start, end), this.expression).length;
      if (matches > 0) found(line, matches);
      start = end + 1;
    }
    return line - first;
  }

  /** A literal has no line feed, so all lines can be searched at once. */
  private scanWhole(shown: string, first: number, found: Found): number {
    let line = first;
    let counted = 0;
    let matches = 0;
    for (const at of this.places(shown)) {
      const passed = countLines(shown, counted, at);
      if (passed > 0 && matches > 0) {
        found(line, matches);
        matches = 0;
      }
      line += passed;
      counted = at;
      matches += 1;
    }
    if (matches > 0) found(line, matches);
    const open = shown === "" || shown.endsWith("\n") ? 0 : 1;
    return line - first + countLines(shown, counted, shown.length) + open;
  }

  private *places(shown: string): Generator<number> {
    const { text, matchesCase } = this.query;
    if (matchesCase) {
      for (let at = shown.indexOf(text); at !== -1; at = shown.indexOf(text, at + text.length)) yield at;
      return;
    }
    this.expression.lastIndex = 0;
    for (let match = this.expression.exec(shown); match; match = this.expression.exec(shown)) yield match.index;
  }
}

function lineEnd(text: string, start: number): number {
  const end = text.indexOf("\n", start);
  return end === -1 ? text.length : end;
}

function countLines(text: string, start: number, end: number): number {
  let count = 0;
  for (let at = text.indexOf("\n", start); at !== -1 && at < end; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}

/** Return the text with each line as it is shown. */
function asShown(text: string): string {
  WRITTEN_OTHERWISE.lastIndex = 0;
  const parts: string[] = [];
  let copied = 0;
  for (let special = WRITTEN_OTHERWISE.exec(text); special; special = WRITTEN_OTHERWISE.exec(text)) {
    const start = text.lastIndexOf("\n", special.index) + 1;
    const end = lineEnd(text, special.index);
    parts.push(text.slice(copied, start), plainText(text.slice(start, end)));
    copied = end;
    WRITTEN_OTHERWISE.lastIndex = end;
  }
  return parts.length === 0 ? text : parts.join("") + text.slice(copied);
}
