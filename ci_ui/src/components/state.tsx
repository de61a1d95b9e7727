import { commonText } from "#text/common";
import type { Schemas } from "../api/client";

export type State = "queued" | "running" | Schemas["Conclusion"];

/** Return the state of a job in one word: its conclusion once it is completed. */
export function stateOf(job: Pick<Schemas["JobView"], "status" | "conclusion">): State {
  if (job.status !== "completed") return job.status;
  return job.conclusion ?? "errored";
}

const MARKS: Record<State, string> = {
  queued: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 1 1 0-11M8 5v3.2l2.2 1.3",
  running: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 1 1 0-11M6.7 5.7l3.6 2.3l-3.6 2.3z",
  succeeded: "M3 8.5l3.5 3.5l6.5-7.5",
  failed: "M4 4l8 8M12 4l-8 8",
  cancelled: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 1 1 0-11M4.2 4.2l7.6 7.6",
  timed_out: "M4.5 2.5h7l-7 11h7l-7-11",
  errored: "M8 2.5l6 11h-12zM8 7v3M8 11.7v.3",
};

/** The state of a job: a mark, a word and a colour, so that no one of them has to be seen. */
export function StateBadge({ state }: { state: State }) {
  return (
    <span className="state" data-state={state}>
      <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
        <path d={MARKS[state]} fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinejoin="round" />
      </svg>
      {commonText.states[state]}
    </span>
  );
}
