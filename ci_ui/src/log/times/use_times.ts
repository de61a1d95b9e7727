import { useEffect, useMemo, useReducer, useRef, useSyncExternalStore } from "react";
import { api, unwrap } from "../../api/client";
import type { OpenLog } from "../use_log";
import { LineTimes, type Place } from "./line_times";

const KEY = "ci-ui.log.times";
const listeners = new Set<() => void>();
let areShown = stored();

function stored(): boolean {
  try {
    return localStorage.getItem(KEY) === "shown";
  } catch {
    return false;
  }
}

/** Show the times of lines from now on, or do not, in this browser. */
export function showTimes(shown: boolean): void {
  areShown = shown;
  try {
    localStorage.setItem(KEY, shown ? "shown" : "hidden");
  } catch {
    // Storage may be forbidden. The choice then holds until the page is left.
  }
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Return whether the reader wants to see the times of lines. */
export function useTimesShown(): boolean {
  return useSyncExternalStore(subscribe, () => areShown);
}

/** Return what tells when lines were written, and read that for the lines from `first` to `last`. */
export function useTimes(jobId: string, attempt: number, log: OpenLog, first: number, last: number): LineTimes {
  const [, render] = useReducer((count: number) => count + 1, 0);
  const isComplete = useRef(false);
  isComplete.current = log.extent?.complete ?? false;
  const times = useMemo(
    () =>
      new LineTimes(
        (start, end) =>
          unwrap(
            api.GET("/jobs/{job_id}/log/times", {
              params: { path: { job_id: jobId }, query: { attempt, start, end } },
            }),
          ),
        () => !isComplete.current,
        render,
      ),
    [jobId, attempt],
  );
  const isShown = useTimesShown();
  useEffect(() => (isShown ? () => times.stop() : undefined), [isShown, times]);
  useEffect(() => {
    if (!isShown) return;
    const places: Place[] = [];
    for (let line = first; line <= last; line += 1) {
      const row = log.row(line);
      if (row) places.push({ line, offset: row.offset });
    }
    times.want(places);
  });
  return times;
}
