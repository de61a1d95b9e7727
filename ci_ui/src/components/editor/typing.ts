import { EditorView } from "@codemirror/view";

/**
 * Typed text is put into the document here. A browser that replaces a coloured selection by itself writes an element with
 * a style, which the page's policy refuses and reports.
 */
export const typing = EditorView.domEventHandlers({
  beforeinput(event, view) {
    if (event.inputType !== "insertText" || event.isComposing || event.data === null || view.state.readOnly)
      return false;
    const { from, to } = selectedIn(view);
    const insert = view.state.toText(event.data);
    view.dispatch({
      changes: { from, to, insert },
      selection: { anchor: from + insert.length },
      scrollIntoView: true,
      userEvent: "input.type",
    });
    event.preventDefault();
    return true;
  },
});

/** Return what is selected now, which the editor is told of a moment later. */
function selectedIn(view: EditorView): { from: number; to: number } {
  const shadowRoots = view.root instanceof ShadowRoot ? [view.root] : [];
  const [range] = document.getSelection()?.getComposedRanges?.({ shadowRoots }) ?? [];
  const isInside = range && [range.startContainer, range.endContainer].every((each) => view.contentDOM.contains(each));
  if (!isInside) return view.state.selection.main;
  return {
    from: view.posAtDOM(range.startContainer, range.startOffset),
    to: view.posAtDOM(range.endContainer, range.endOffset),
  };
}
