import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { json } from "@codemirror/lang-json";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, indentUnit, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { shell } from "@codemirror/legacy-modes/mode/shell";
import { EditorState, type Extension } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { useEffect, useRef } from "react";
import { highlighting, look } from "./look";
import { typing } from "./typing";

export type Language = "yaml" | "json" | "shell";

const LANGUAGES: Record<Language, () => Extension> = {
  yaml: () => [yaml(), lineNumbers()],
  json: () => json(),
  shell: () => StreamLanguage.define(shell),
};

export interface EditorProps {
  label: string;
  /** What is said of it besides, such as a hint. */
  description: string | undefined;
  value: string;
  change: (value: string) => void;
  language: Language;
  /** How many lines are shown at least. */
  rows: number;
  isWrong: boolean;
  isRequired: boolean;
  isReadOnly: boolean;
  /** Whether it begins with the focus, since what it takes the place of had it. */
  focus: boolean;
}

/**
 * An editor of text with its syntax in colours. Tab leaves it, as it leaves every field.
 *
 * It is in a shadow root, where its styles are objects: elements with styles are against the page's policy.
 */
export default function Editor(props: EditorProps) {
  const { language, rows, value } = props;
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    if (!host.current) return;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: "open" });
    const { label, description, isWrong, isRequired, isReadOnly, focus } = latest.current;
    const made = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: latest.current.value,
        extensions: [
          history(),
          keymap.of([...defaultKeymap, ...historyKeymap]),
          indentUnit.of("  "),
          bracketMatching(),
          LANGUAGES[language](),
          syntaxHighlighting(highlighting),
          typing,
          look(rows),
          EditorState.readOnly.of(isReadOnly),
          EditorView.contentAttributes.of({
            tabindex: "0",
            "aria-label": label,
            "aria-required": String(isRequired),
            "aria-invalid": String(isWrong),
            ...(description ? { "aria-description": description } : {}),
          }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) latest.current.change(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = made;
    if (focus) made.focus();
    return () => made.destroy();
  }, [language, rows]);

  useEffect(() => {
    const shown = view.current?.state.doc.toString();
    if (shown !== undefined && shown !== value) {
      view.current?.dispatch({ changes: { from: 0, to: shown.length, insert: value } });
    }
  }, [value]);

  useEffect(() => {
    view.current?.contentDOM.setAttribute("aria-invalid", String(props.isWrong));
  }, [props.isWrong]);

  return <div ref={host} />;
}
