import { PLAIN, type Run, type Style } from "../rows";
import { applySgr } from "./sgr";

// biome-ignore-start lint/suspicious/noControlCharactersInRegex: a scanner of control characters is made of them
const TEXT = /[^\x00-\x08\x0a-\x1f\x7f-\x9f]+/y;
const CONTROL_SEQUENCE = /\x1b\[([0-?]*)[ -/]*([@-~]|$)/y;
const COMMAND_STRING = /\x1b([\]PX^_])((?:[^\x07\x1b]|\x1b(?!\\))*)(?:\x07|\x1b\\|$)/y;
const OTHER_ESCAPE = /\x1b[ -/]*[0-~]?/y;
const MOVES = /[\r\x08]|\x1b\[[0-9;]*[KGCD]/;
const SPECIAL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/;
// biome-ignore-end lint/suspicious/noControlCharactersInRegex: as above

const WIDEST = 100_000;

export interface Scanned {
  runs: Run[];
  /** The style in which the next line begins. */
  style: Style;
}

/**
 * Return what a terminal would show of a line, which has no line feed, if it begins in `style`.
 *
 * Colours, links and what overwrites the line (`\r`, erase-line, moves within it) are carried out; every other control
 * character and escape sequence is left out.
 */
export function scanLine(line: string, style: Style): Scanned {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  if (!SPECIAL.test(text)) return { runs: text ? [{ text, style }] : [], style };
  const paper = MOVES.test(text) ? new Cells() : new Runs();
  const end = walk(text, style, paper);
  return { runs: paper.finish(), style: end };
}

/** Return what `scanLine` shows of a line, without styles. */
export function plainText(line: string): string {
  return scanLine(line, PLAIN)
    .runs.map((run) => run.text)
    .join("");
}

/** Return the style that the text, which may have many lines, leaves behind. */
export function styleAfter(text: string, style: Style): Style {
  return text.includes("\x1b") ? walk(text, style, NOTHING) : style;
}

/** On what the text is written. */
interface Paper {
  write(text: string, style: Style): void;
  control(character: string): void;
  sequence(final: string, parameters: string): void;
}

function walk(text: string, start: Style, paper: Paper): Style {
  let style = start;
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at = pattern.lastIndex;
    return found;
  };
  while (at < text.length) {
    const plain = take(TEXT);
    if (plain) {
      paper.write(plain[0], style);
      continue;
    }
    if (text[at] !== "\x1b") {
      paper.control(text[at] ?? "");
      at += 1;
      continue;
    }
    const sequence = take(CONTROL_SEQUENCE);
    if (sequence) {
      const [, parameters = "", final = ""] = sequence;
      if (final === "m") style = applySgr(style, parameters);
      else paper.sequence(final, parameters);
      continue;
    }
    const command = take(COMMAND_STRING);
    if (command) {
      if (command[1] === "]") style = linked(style, command[2] ?? "");
    } else if (!take(OTHER_ESCAPE)) at += 1;
  }
  return style;
}

/** Return the style after an OSC 8 command, `8;parameters;URL`; other commands change nothing. */
function linked(style: Style, command: string): Style {
  const parts = /^8;[^;]*;(.*)$/.exec(command);
  if (!parts) return style;
  return { ...style, link: harmless(parts[1] ?? "") };
}

function harmless(url: string): string {
  if (!/^https?:\/\//i.test(url)) return "";
  return URL.canParse(url) ? url : "";
}

const NOTHING: Paper = { write: () => {}, control: () => {}, sequence: () => {} };

/** Text that only goes on to the right. */
class Runs implements Paper {
  private readonly runs: Run[] = [];

  write(text: string, style: Style): void {
    const last = this.runs.at(-1);
    if (last && isSame(last.style, style)) last.text += text;
    else this.runs.push({ text, style });
  }

  control(): void {}

  sequence(): void {}

  finish(): Run[] {
    return this.runs;
  }
}

/** Text in which later parts overwrite earlier ones: one cell a character. */
class Cells implements Paper {
  private characters: string[] = [];
  private styles: Style[] = [];
  private column = 0;

  write(text: string, style: Style): void {
    for (const character of text) {
      while (this.characters.length < this.column) this.put(this.characters.length, " ", PLAIN);
      this.put(this.column, character, style);
      this.column += 1;
    }
  }

  control(character: string): void {
    if (character === "\r") this.column = 0;
    else if (character === "\b") this.column = Math.max(0, this.column - 1);
  }

  sequence(final: string, parameters: string): void {
    const count = Math.min(Number.parseInt(parameters, 10) || 0, WIDEST);
    if (final === "K") this.erase(count);
    else if (final === "G") this.column = Math.max(1, count) - 1;
    else if (final === "C") this.column = Math.min(WIDEST, this.column + Math.max(1, count));
    else if (final === "D") this.column = Math.max(0, this.column - Math.max(1, count));
  }

  finish(): Run[] {
    const runs = new Runs();
    this.characters.forEach((character, index) => {
      runs.write(character, this.styles[index] ?? PLAIN);
    });
    return runs.finish();
  }

  private put(column: number, character: string, style: Style): void {
    this.characters[column] = character;
    this.styles[column] = style;
  }

  private erase(part: number): void {
    if (part === 1) {
      const end = Math.min(this.column + 1, this.characters.length);
      for (let column = 0; column < end; column += 1) this.put(column, " ", PLAIN);
    } else {
      const kept = part === 2 ? 0 : this.column;
      this.characters.length = Math.min(kept, this.characters.length);
      this.styles.length = this.characters.length;
    }
  }
}

function isSame(one: Style, other: Style): boolean {
  return (
    one === other ||
    (one.foreground === other.foreground &&
      one.background === other.background &&
      one.flags === other.flags &&
      one.link === other.link)
  );
}
