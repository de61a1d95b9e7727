import { HighlightStyle } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

/** Colours of syntax, from the tokens of the page, so that they follow its theme. */
export const highlighting = HighlightStyle.define([
  { tag: [tags.keyword, tags.propertyName, tags.definition(tags.propertyName)], color: "var(--link)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--succeeded)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--errored)" },
  { tag: [tags.variableName, tags.typeName, tags.standard(tags.variableName)], color: "var(--cancelled)" },
  { tag: [tags.comment, tags.meta], color: "var(--muted)" },
  { tag: tags.invalid, color: "var(--failed)" },
]);

/** Return how an editor looks that shows so many lines at least. */
export function look(rows: number): Extension {
  return EditorView.theme({
    "&": {
      color: "var(--text)",
      backgroundColor: "var(--background)",
      border: "1px solid var(--control-border)",
      borderRadius: "var(--radius)",
      fontSize: "0.85rem",
    },
    "&.cm-focused": { outline: "2px solid var(--focus)", outlineOffset: "2px" },
    ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5", maxHeight: "50vh", overflow: "auto" },
    ".cm-content": { caretColor: "var(--text)", minHeight: `${rows * 1.5 + 0.6}em` },
    ".cm-gutters": { backgroundColor: "var(--raised)", color: "var(--muted)", borderColor: "var(--border)" },
    "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--sunken)", outline: "1px solid var(--border)" },
  });
}
