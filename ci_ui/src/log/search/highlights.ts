import { expressionOf, matchesIn } from "./query";
import type { SearchState } from "./use_search";

const ALL = "log-hit";
const CURRENT = "log-hit-current";

/** Mark the hits in the lines that are shown, without changing an element. */
export function highlight(rows: HTMLElement, search: SearchState): void {
  if (typeof CSS === "undefined" || !("highlights" in CSS)) return;
  const { query, fault, hits, current } = search;
  if (query.text === "" || fault !== null) {
    clearHighlights();
    return;
  }
  const expression = expressionOf(query);
  const currentLine = current === null ? 0 : hits.lineOf(current);
  const all: Range[] = [];
  const shown: Range[] = [];
  for (const row of rows.querySelectorAll<HTMLElement>("[data-line]")) {
    const words = row.querySelector<HTMLElement>("[data-text]");
    const found = words ? matchesIn(words.textContent ?? "", expression) : [];
    if (!words || found.length === 0) continue;
    const ranges = rangesIn(words, found);
    const chosen = Number(row.dataset.line) === currentLine && current !== null ? hits.withinLine(current) : -1;
    ranges.forEach((range, index) => {
      (index === chosen ? shown : all).push(range);
    });
  }
  CSS.highlights.set(ALL, new Highlight(...all));
  CSS.highlights.set(CURRENT, new Highlight(...shown));
}

export function clearHighlights(): void {
  CSS.highlights?.delete(ALL);
  CSS.highlights?.delete(CURRENT);
}

/** Return ranges of parts of an element's text, which are in order. */
function rangesIn(element: HTMLElement, parts: [number, number][]): Range[] {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const ranges: Range[] = [];
  let node = walker.nextNode() as Text | null;
  let before = 0;
  const seek = (offset: number) => {
    while (node && before + node.length < offset) {
      before += node.length;
      node = walker.nextNode() as Text | null;
    }
    return node;
  };
  for (const [start, end] of parts) {
    const range = document.createRange();
    const from = seek(start);
    if (!from) break;
    range.setStart(from, start - before);
    const to = seek(end);
    if (!to) break;
    range.setEnd(to, end - before);
    ranges.push(range);
  }
  return ranges;
}
