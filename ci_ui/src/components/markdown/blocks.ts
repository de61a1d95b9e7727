/** A block of Markdown: its lines have been read, the parts of them not. */
export type Block =
  | { kind: "heading"; level: number; text: string }
  | { kind: "paragraph"; text: string }
  | { kind: "code"; text: string }
  | { kind: "rule" }
  | { kind: "quote"; children: Block[] }
  | { kind: "list"; ordered: boolean; start: number; items: Block[][] }
  | { kind: "table"; head: string[]; rows: string[][] };

const DEEPEST = 8;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*?))?\s*#*\s*$/;
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(\s+|$)/;
const TABLE_LINE = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;

/** Return the blocks of a text. */
export function parseBlocks(source: string, depth = 0): Block[] {
  const lines = source.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n");
  const blocks: Block[] = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at]?.trim()) {
      at += 1;
      continue;
    }
    const [block, next] = blockAt(lines, at, depth);
    blocks.push(block);
    at = next;
  }
  return blocks;
}

function blockAt(lines: string[], at: number, depth: number): [Block, number] {
  const line = lines[at] ?? "";
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", level: heading[1]?.length ?? 1, text: heading[2] ?? "" }, at + 1];
  if (FENCE.test(line)) return codeAt(lines, at);
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < DEEPEST && /^ {0,3}>/.test(line)) return quoteAt(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return listAt(lines, at, depth);
  if (line.includes("|") && TABLE_LINE.test(lines[at + 1] ?? "") && (lines[at + 1] ?? "").includes("-")) {
    return tableAt(lines, at);
  }
  return paragraphAt(lines, at);
}

function codeAt(lines: string[], at: number): [Block, number] {
  const fence = FENCE.exec(lines[at] ?? "")?.[1] ?? "```";
  let end = at + 1;
  while (end < lines.length && !(lines[end] ?? "").trim().startsWith(fence)) end += 1;
  return [{ kind: "code", text: lines.slice(at + 1, end).join("\n") }, end + 1];
}

function quoteAt(lines: string[], at: number, depth: number): [Block, number] {
  let end = at;
  while (end < lines.length && /^ {0,3}>/.test(lines[end] ?? "")) end += 1;
  const inside = lines.slice(at, end).map((line) => line.replace(/^ {0,3}> ?/, ""));
  return [{ kind: "quote", children: parseBlocks(inside.join("\n"), depth + 1) }, end];
}

function listAt(lines: string[], at: number, depth: number): [Block, number] {
  const first = ITEM.exec(lines[at] ?? "");
  const mark = first?.[2] ?? "-";
  const ordered = /\d/.test(mark);
  const items: Block[][] = [];
  let end = at;
  while (end < lines.length) {
    const item = ITEM.exec(lines[end] ?? "");
    if (!item || /\d/.test(item[2] ?? "") !== ordered || RULE.test(lines[end] ?? "")) break;
    const begin = end;
    const indent = Math.min(item[0].length, (item[1]?.length ?? 0) + (item[2]?.length ?? 1) + 4);
    end = itemEnd(lines, begin, indent);
    const own = (lines[begin] ?? "").slice(item[0].length);
    const rest = lines.slice(begin + 1, end).map((line) => line.slice(Math.min(indent, leading(line))));
    items.push(parseBlocks([own, ...rest].join("\n"), depth + 1));
  }
  return [{ kind: "list", ordered, start: ordered ? Number.parseInt(mark, 10) : 1, items }, end];
}

/** Return where the item ends that begins at this line: its further lines are indented, or go on with its paragraph. */
function itemEnd(lines: string[], begin: number, indent: number): number {
  let end = begin + 1;
  while (end < lines.length) {
    const line = lines[end] ?? "";
    const isIndented = leading(line) >= Math.min(indent, 2);
    const isBlank = !line.trim();
    if (isBlank && leading(lines[end + 1] ?? "") < Math.min(indent, 2)) break;
    if (!isBlank && !isIndented && (ITEM.test(line) || startsBlock(line) || !(lines[end - 1] ?? "").trim())) break;
    end += 1;
  }
  return skipBlankBeforeItem(lines, end);
}

function skipBlankBeforeItem(lines: string[], end: number): number {
  return !(lines[end] ?? "x").trim() && ITEM.test(lines[end + 1] ?? "") ? end + 1 : end;
}

function leading(line: string): number {
  return line.length - line.trimStart().length;
}

function startsBlock(line: string): boolean {
  return HEADING.test(line) || FENCE.test(line) || RULE.test(line) || /^ {0,3}>/.test(line);
}

function tableAt(lines: string[], at: number): [Block, number] {
  let end = at + 2;
  while (end < lines.length && (lines[end] ?? "").includes("|")) end += 1;
  const head = cells(lines[at] ?? "");
  const rows = lines.slice(at + 2, end).map((line) => {
    const row = cells(line);
    return head.map((_, column) => row[column] ?? "");
  });
  return [{ kind: "table", head, rows }, end];
}

function cells(line: string): string[] {
  const inside = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return inside.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function paragraphAt(lines: string[], at: number): [Block, number] {
  let end = at + 1;
  while (
    end < lines.length &&
    (lines[end] ?? "").trim() &&
    !startsBlock(lines[end] ?? "") &&
    !ITEM.test(lines[end] ?? "")
  ) {
    end += 1;
  }
  const text = lines
    .slice(at, end)
    .map((line) => line.trimStart())
    .join("\n");
  return [{ kind: "paragraph", text: text.trimEnd() }, end];
}
