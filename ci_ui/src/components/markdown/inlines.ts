/** A part of a line of Markdown. */
export type Inline =
  | { kind: "text"; text: string }
  | { kind: "code"; text: string }
  | { kind: "strong" | "emphasis" | "deleted"; children: Inline[] }
  | { kind: "link"; href: string; children: Inline[] }
  | { kind: "break" };

/** How far the end of a mark is searched for, so that hostile text costs no more than any other. */
const REACH = 4_000;
const DEEPEST = 6;
const ESCAPABLE = /[\\`*_{}[\]()#+\-.!|~<>]/;
const MARKS: [string, "strong" | "emphasis" | "deleted"][] = [
  ["**", "strong"],
  ["__", "strong"],
  ["~~", "deleted"],
  ["*", "emphasis"],
  ["_", "emphasis"],
];

interface Found {
  inline: Inline;
  end: number;
}

/** Return the parts of a text. HTML in it stays text, and a link leads to http and https only. */
export function parseInlines(source: string, depth = 0): Inline[] {
  const parts: Inline[] = [];
  let plain = "";
  let at = 0;
  const flush = () => {
    if (plain) parts.push({ kind: "text", text: plain });
    plain = "";
  };
  while (at < source.length) {
    const next = source[at + 1] ?? "";
    if (source[at] === "\\" && ESCAPABLE.test(next)) {
      plain += next;
      at += 2;
      continue;
    }
    const found = depth < DEEPEST ? markAt(source, at, depth) : null;
    if (found) {
      flush();
      parts.push(found.inline);
      at = found.end;
    } else {
      plain += source[at];
      at += 1;
    }
  }
  flush();
  return parts;
}

function markAt(source: string, at: number, depth: number): Found | null {
  switch (source[at]) {
    case "\n":
      return lineEndAt(source, at);
    case "`":
      return codeAt(source, at);
    case "[":
      return linkAt(source, at, at, depth);
    case "!":
      return source[at + 1] === "[" ? linkAt(source, at, at + 1, depth) : null;
    case "<":
      return angleLinkAt(source, at);
    case "h":
      return bareLinkAt(source, at);
    case "*":
    case "_":
    case "~":
      return emphasisAt(source, at, depth);
    default:
      return null;
  }
}

function lineEndAt(source: string, at: number): Found | null {
  return source.slice(Math.max(0, at - 2), at) === "  " ? { inline: { kind: "break" }, end: at + 1 } : null;
}

function indexWithin(source: string, wanted: string, from: number): number {
  return source.slice(from, from + REACH).indexOf(wanted) + from;
}

function codeAt(source: string, at: number): Found | null {
  let ticks = 1;
  while (source[at + ticks] === "`" && ticks < 8) ticks += 1;
  const fence = "`".repeat(ticks);
  const from = at + ticks;
  const end = indexWithin(source, fence, from);
  if (end < from) return null;
  const inside = source.slice(from, end).replaceAll("\n", " ");
  const text = /^ .*[^ ].* $/.test(inside) ? inside.slice(1, -1) : inside;
  return { inline: { kind: "code", text }, end: end + ticks };
}

/** An image is shown as a link to it: the page loads nothing that a job names. */
function linkAt(source: string, at: number, bracket: number, depth: number): Found | null {
  const close = indexWithin(source, "](", bracket + 1);
  if (close <= bracket) return null;
  const end = indexWithin(source, ")", close + 2);
  if (end < close + 2) return null;
  const label = source.slice(bracket + 1, close);
  const href = safeHref(
    source
      .slice(close + 2, end)
      .trim()
      .split(/\s/)[0] ?? "",
  );
  const children = parseInlines(label, depth + 1);
  const inline: Inline = href ? { kind: "link", href, children } : { kind: "text", text: source.slice(at, end + 1) };
  return { inline, end: end + 1 };
}

function angleLinkAt(source: string, at: number): Found | null {
  const end = indexWithin(source, ">", at + 1);
  const href = end > at ? safeHref(source.slice(at + 1, end)) : null;
  return href ? { inline: { kind: "link", href, children: [{ kind: "text", text: href }] }, end: end + 1 } : null;
}

function bareLinkAt(source: string, at: number): Found | null {
  if (/\w/.test(source[at - 1] ?? "")) return null;
  const match = /^https?:\/\/[^\s<>"'`|]+/.exec(source.slice(at, at + REACH));
  const text = match?.[0].replace(/[.,;:!?)\]}*_]+$/, "");
  const href = text ? safeHref(text) : null;
  if (!text || !href) return null;
  return { inline: { kind: "link", href, children: [{ kind: "text", text }] }, end: at + text.length };
}

function emphasisAt(source: string, at: number, depth: number): Found | null {
  for (const [mark, kind] of MARKS) {
    if (!source.startsWith(mark, at)) continue;
    const from = at + mark.length;
    const insideWord = mark[0] === "_" && /\w/.test(source[at - 1] ?? "");
    if (insideWord || /\s/.test(source[from] ?? " ")) continue;
    const end = indexWithin(source, mark, from);
    if (end <= from || /\s/.test(source[end - 1] ?? " ")) continue;
    if (mark[0] === "_" && /\w/.test(source[end + mark.length] ?? "")) continue;
    return { inline: { kind, children: parseInlines(source.slice(from, end), depth + 1) }, end: end + mark.length };
  }
  return null;
}

/** Return an address as a link may have it, or null for one that is not of the web. */
export function safeHref(address: string): string | null {
  try {
    const url = new URL(address);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}
