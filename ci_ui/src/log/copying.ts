import type { Row } from "./rows";
import { textOf } from "./rows";

/**
 * Return what a selection in the window copies: of lines that are selected as a whole, the text as it is in the log; of
 * others, what is selected of them. Numbers are never part of it. Null if the selection has no text of the log.
 */
export function copiedText(
  rows: HTMLElement,
  selection: Selection,
  rowOf: (line: number) => Row | null,
): string | null {
  if (selection.isCollapsed || selection.rangeCount === 0) return null;
  const selected = selection.getRangeAt(0);
  const lines: string[] = [];
  for (const element of rows.querySelectorAll<HTMLElement>("[data-line]")) {
    const words = element.querySelector("[data-text]");
    if (!words || !selected.intersectsNode(words)) continue;
    const part = document.createRange();
    part.selectNodeContents(words);
    if (part.comparePoint(selected.startContainer, selected.startOffset) === 0) {
      part.setStart(selected.startContainer, selected.startOffset);
    }
    if (part.comparePoint(selected.endContainer, selected.endOffset) === 0) {
      part.setEnd(selected.endContainer, selected.endOffset);
    }
    const row = rowOf(Number(element.dataset.line));
    const shown = part.toString();
    lines.push(row?.source != null && shown === textOf(row) ? row.source : shown);
  }
  return lines.length > 0 ? lines.join("\n") : null;
}

/** Return lines as Markdown: a link to them, and a block of code whose fence no line can end. */
export function asMarkdown(lines: string, title: string, url: string): string {
  const longest = Math.max(2, ...Array.from(lines.matchAll(/`+/g), (ticks) => ticks[0].length));
  const fence = "`".repeat(longest + 1);
  return `[${title}](${url})\n\n${fence}text\n${lines.replace(/\n$/, "")}\n${fence}\n`;
}

/** Put a text into the clipboard, on pages over plain HTTP too. Returns whether the browser has done it. */
export async function copyText(text: string): Promise<boolean> {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch {
    // Asked for in the old way below.
  }
  let done = false;
  const put = (event: ClipboardEvent) => {
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
    event.stopImmediatePropagation();
    done = true;
  };
  document.addEventListener("copy", put, { capture: true });
  document.execCommand("copy");
  document.removeEventListener("copy", put, { capture: true });
  return done;
}
