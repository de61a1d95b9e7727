import {
  BOLD,
  CONCEALED,
  DIM,
  INVERSE,
  ITALIC,
  NO_COLOUR,
  PLAIN,
  STRIKE,
  type Style,
  TRUE_COLOUR,
  UNDERLINE,
} from "../rows";

const SET: Record<number, number> = {
  1: BOLD,
  2: DIM,
  3: ITALIC,
  4: UNDERLINE,
  7: INVERSE,
  8: CONCEALED,
  9: STRIKE,
  21: UNDERLINE,
};
const CLEARED: Record<number, number> = {
  22: BOLD | DIM,
  23: ITALIC,
  24: UNDERLINE,
  27: INVERSE,
  28: CONCEALED,
  29: STRIKE,
};

/**
 * Return the style after `ESC [ parameters m`. Parameters are separated by semicolons; colours may have colons inside
 * (`38:2::r:g:b`), as ISO 8613-6 has them. What is not known changes nothing.
 */
export function applySgr(style: Style, parameters: string): Style {
  const parts = parameters.split(";");
  let result = { ...style };
  for (let at = 0; at < parts.length; at += 1) {
    const part = parts[at] ?? "";
    if (part.includes(":")) {
      applyColons(result, part.split(":"));
      continue;
    }
    const code = part === "" ? 0 : Number(part);
    if (code === 0) result = { ...PLAIN, link: style.link };
    else if (code === 38 || code === 48) {
      const kind = parts[at + 1];
      const [colour, used] =
        kind === "5"
          ? [byteOf(parts[at + 2]), 2]
          : kind === "2"
            ? [ofParts(parts[at + 2], parts[at + 3], parts[at + 4]), 4]
            : [null, 1];
      setColour(result, code, colour);
      at += used;
    } else applyCode(result, code);
  }
  return result;
}

function applyCode(style: Style, code: number): void {
  const set = SET[code];
  const cleared = CLEARED[code];
  if (set) style.flags |= set;
  else if (cleared) style.flags &= ~cleared;
  else if (code >= 30 && code <= 37) style.foreground = code - 30;
  else if (code >= 90 && code <= 97) style.foreground = code - 82;
  else if (code === 39) style.foreground = NO_COLOUR;
  else if (code >= 40 && code <= 47) style.background = code - 40;
  else if (code >= 100 && code <= 107) style.background = code - 92;
  else if (code === 49) style.background = NO_COLOUR;
}

function applyColons(style: Style, parts: string[]): void {
  const code = Number(parts[0]);
  if (code === 4) {
    if (parts[1] === "0") style.flags &= ~UNDERLINE;
    else style.flags |= UNDERLINE;
  } else if (parts[1] === "5") setColour(style, code, byteOf(parts[2]));
  // Between the kind and the colour stands the id of a colour space, often empty; some programs leave it out.
  else if (parts[1] === "2") setColour(style, code, ofParts(...colourParts(parts)));
}

function colourParts(parts: string[]): string[] {
  return parts.length >= 6 ? parts.slice(3, 6) : parts.slice(2, 5);
}

function setColour(style: Style, code: number, colour: number | null): void {
  if (colour === null) return;
  if (code === 38) style.foreground = colour;
  else if (code === 48) style.background = colour;
}

function ofParts(...parts: (string | undefined)[]): number | null {
  const [red, green, blue] = parts.map(byteOf);
  if (red == null || green == null || blue == null) return null;
  return TRUE_COLOUR + red * 65_536 + green * 256 + blue;
}

function byteOf(part: string | undefined): number | null {
  if (part === undefined || !/^\d{0,3}$/.test(part)) return null;
  const value = Number(part);
  return value <= 255 ? value : null;
}
