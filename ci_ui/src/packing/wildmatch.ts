/**
 * Translates git's glob patterns into regular expressions, as `ci_client/packing/wildmatch.py` does, with the same results.
 *
 * Patterns and paths are bytes represented as text (latin-1). Each `*` is an atomic group; JavaScript has none, so it is a
 * lookahead that captures, and what it has captured.
 */

const CLASSES: Record<string, RegExp> = {
  alnum: /[0-9A-Za-z]/,
  alpha: /[A-Za-z]/,
  blank: /[ \t]/,
  cntrl: /\p{Cc}/u,
  digit: /[0-9]/,
  graph: /[!-~]/,
  lower: /[a-z]/,
  print: /[ -~]/,
  punct: /[!-/:-@[-`{-~]/,
  space: /[ \t\n\r]/,
  upper: /[A-Z]/,
  xdigit: /[0-9A-Fa-f]/,
};
const LAST_CODE = 255;
const LAST_OF_CLASSES = 127;
const SLASH = 47;

interface Group {
  opener: "" | "**" | "**/";
  chunks: string[];
}

/** The pattern is malformed, so git matches nothing with it. */
class MatchesNothing extends Error {}

/** Return the expression for a pattern of a file's name; null if it matches nothing. */
export function translateName(pattern: string): RegExp | null {
  return translated(pattern, 0, false);
}

/** Return the expression for a pattern of a whole path; null if it matches nothing. */
export function translatePath(pattern: string): RegExp | null {
  const special = pattern.search(/[*?[\\]/);
  return translated(pattern, special < 0 ? pattern.length : special, true);
}

function translated(pattern: string, begin: number, isPath: boolean): RegExp | null {
  const groups: Group[] = [{ opener: "", chunks: [""] }];
  try {
    for (const part of tokens(pattern, begin, isPath)) {
      const { chunks } = groups[groups.length - 1] as Group;
      if (part === "*") chunks.push("");
      else if (part === "**" || part === "**/") groups.push({ opener: part, chunks: [""] });
      else chunks[chunks.length - 1] += part;
    }
  } catch (error) {
    if (error instanceof MatchesNothing) return null;
    throw error;
  }
  let captures = 0;
  const atomic = (text: string) => {
    captures += 1;
    return `(?=(?<g${captures}>${text}))\\k<g${captures}>`;
  };
  const after = (chunks: string[]) => chunks.map((chunk) => atomic(`[^/]*?${chunk}`)).join("");
  const inner = ({ opener, chunks: [first, ...rest] }: Group) => {
    const text = first + after(rest);
    if (opener === "**/") return atomic(`(?:[^/]*/)*?${text}`);
    return opener ? atomic(`.*?${text}`) : text;
  };
  const last = ({ opener, chunks: [first, ...rest] }: Group) => {
    const end = rest.length ? `[^/]*${rest[rest.length - 1]}` : "";
    const text = first + after(rest.slice(0, -1)) + end;
    if (opener === "**/") return `(?:[^/]*/)*?${text}`;
    return opener ? `.*?${text}` : text;
  };
  const whole = groups.slice(0, -1).map(inner).join("") + last(groups[groups.length - 1] as Group);
  return whole ? new RegExp(`^(?:${whole})$`, "s") : null;
}

function* tokens(pattern: string, begin: number, isPath: boolean): Generator<string> {
  let place = 0;
  while (place < pattern.length) {
    const char = pattern[place] as string;
    if (char === "*") {
      const [token, end] = stars(pattern, place, begin, isPath);
      yield token;
      place = end;
    } else if (char === "[") {
      const [members, end] = set(pattern, place + 1);
      yield expression(members);
      place = end;
    } else if (char === "\\") {
      yield escaped(at(pattern, place + 1));
      place += 2;
    } else {
      yield char === "?" ? "[^/]" : escaped(char);
      place += 1;
    }
  }
}

function stars(pattern: string, place: number, begin: number, isPath: boolean): [string, number] {
  let end = place;
  while (pattern[end] === "*") end += 1;
  const beginsPart = place === begin || pattern[place - 1] === "/";
  if (!isPath || end - place === 1 || !beginsPart) return ["*", end];
  if (pattern[end] === "/") return ["**/", end + 1];
  // An escaped slash ends the part, too, but must be present in the path.
  return [end === pattern.length || pattern.startsWith("\\/", end) ? "**" : "*", end];
}

function set(pattern: string, start: number): [Set<number>, number] {
  let place = start;
  const negated = pattern[place] === "!" || pattern[place] === "^";
  if (negated) place += 1;
  const members = new Set<number>();
  let before = "";
  for (let first = true; first || pattern[place] !== "]"; first = false) {
    place = item(place);
  }
  if (!negated) return [members, place + 1];
  const others = new Set<number>();
  for (let code = 1; code <= LAST_CODE; code++) if (!members.has(code)) others.add(code);
  return [others, place + 1];

  function item(from: number): number {
    const char = at(pattern, from);
    if (char === "-" && before && from + 1 < pattern.length && pattern[from + 1] !== "]") {
      const [end, next] = taken(from + 1);
      for (let code = before.charCodeAt(0); code <= end.charCodeAt(0); code++) members.add(code);
      before = "";
      return next;
    }
    if (pattern.startsWith("[:", from)) {
      const end = pattern.indexOf("]", from + 2);
      if (end < 0) throw new MatchesNothing();
      if (pattern.slice(from + 2, end).endsWith(":")) {
        const wanted = CLASSES[pattern.slice(from + 2, end - 1)];
        if (!wanted) throw new MatchesNothing();
        for (let code = 1; code <= LAST_OF_CLASSES; code++) {
          if (wanted.test(String.fromCharCode(code))) members.add(code);
        }
        before = "";
        return end + 1;
      }
    }
    const [single, next] = taken(from);
    members.add(single.charCodeAt(0));
    before = single;
    return next;
  }

  function taken(from: number): [string, number] {
    const char = at(pattern, from);
    return char === "\\" ? [at(pattern, from + 1), from + 2] : [char, from + 1];
  }
}

function at(pattern: string, place: number): string {
  const char = pattern[place];
  if (char === undefined) throw new MatchesNothing();
  return char;
}

function expression(members: Set<number>): string {
  members.delete(SLASH);
  if (!members.size) throw new MatchesNothing();
  return `[${[...members].map(hexadecimal).join("")}]`;
}

function escaped(char: string): string {
  return /[0-9A-Za-z_/]/.test(char) ? char : hexadecimal(char.charCodeAt(0));
}

function hexadecimal(code: number): string {
  return `\\x${code.toString(16).padStart(2, "0")}`;
}
