import { useEffect, useRef } from "react";
import type { Act } from "./batch";

export interface KeyActions {
  toggle: (jobId: string, range: boolean) => void;
  search: () => void;
  ask: (act: Act, jobId: string | undefined) => void;
  help: () => void;
  clear: () => void;
}

/** Let keys move through the list and act. They mean nothing while something is typed or a dialog is open. */
export function useKeys(actions: KeyActions) {
  const current = useRef(actions);
  current.current = actions;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const target = event.target as HTMLElement;
      if (target.closest("select, textarea, input:not([type=checkbox])")) {
        if (event.key === "Escape") target.blur();
        return;
      }
      if (act(event.key, event.shiftKey, current.current)) event.preventDefault();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

function act(key: string, isShifted: boolean, actions: KeyActions): boolean {
  const jobId = document.activeElement?.closest<HTMLElement>("[data-job]")?.dataset.job;
  switch (key) {
    case "j":
      move(1);
      return true;
    case "k":
      move(-1);
      return true;
    case "x":
    case "X":
      if (jobId) actions.toggle(jobId, isShifted);
      return jobId !== undefined;
    case "/":
      actions.search();
      return true;
    case "c":
      actions.ask("cancel", jobId);
      return true;
    case "r":
      actions.ask("retry", jobId);
      return true;
    case "?":
      actions.help();
      return true;
    case "Escape":
      actions.clear();
      return true;
    default:
      return false;
  }
}

/** Move the focus to the link of the next job, or of the one before. */
function move(by: 1 | -1) {
  const links = [...document.querySelectorAll<HTMLElement>("[data-job] a[data-open]")];
  const row = document.activeElement?.closest("[data-job]");
  const at = links.findIndex((link) => row?.contains(link));
  const next = at < 0 ? 0 : Math.min(links.length - 1, Math.max(0, at + by));
  links[next]?.focus();
}
