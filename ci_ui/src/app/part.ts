import { type ComponentType, lazy } from "react";
import { readAgain } from "../api/reading";

// The loader of the page's parts asks for no style whose element stands in the document, though it had failed.
addEventListener(
  "error",
  ({ target }) => {
    if (target instanceof HTMLLinkElement) target.remove();
  },
  true,
);

/** A component whose file is loaded when it is shown first. It throws Unreachable where that fails twice. */
// biome-ignore lint/suspicious/noExplicitAny: components with any properties, as for React's own lazy()
export function lazyPart<Part extends ComponentType<any>>(load: () => Promise<{ default: Part }>) {
  return lazy(() => readAgain(load));
}
