import { useEffect } from "react";
import { commonText } from "#text/common";
import type { State } from "../components/state";
import { pagesPath } from "./base";

const ICONS: Record<State | "idle", string> = {
  idle: "idle",
  queued: "queued",
  running: "running",
  succeeded: "succeeded",
  failed: "failed",
  cancelled: "cancelled",
  timed_out: "failed",
  errored: "failed",
};

/** Show the title and, by the icon of the tab, the state of what the page is about. */
export function useTitle(title: string, state: State | "idle" = "idle") {
  useEffect(() => {
    document.title = `${title} · ${commonText.product}`;
    const icon = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
    if (icon) icon.href = `${pagesPath}/icons/${ICONS[state]}.svg`;
  }, [title, state]);
}
