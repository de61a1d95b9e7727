import { logText } from "#text/log";
import { durationWords } from "../../components/time";
import type { Step } from "../attempt";
import styles from "./row.module.css";

interface Props {
  step: Step;
  isFolded: boolean;
  toggle(): void;
}

const MARKS: Record<string, string> = { succeeded: "✓", failed: "✗", skipped: "–", running: "●" };

/** The row above the first line of a step: it folds the step, and says how it ended and how long it took. */
export function StepRow({ step, isFolded, toggle }: Props) {
  const milliseconds =
    step.start_time && step.end_time ? Date.parse(step.end_time) - Date.parse(step.start_time) : null;
  return (
    <button type="button" className={styles.header} aria-expanded={!isFolded} onClick={toggle} data-step={step.name}>
      <span data-verdict={step.status} aria-hidden="true">
        {MARKS[step.status] ?? "·"}
      </span>
      <span>{step.name}</span>
      <span className={styles.took}>
        {logText.stepStates[step.status] ?? step.status}
        {step.exit_code ? `, ${logText.exitCode(step.exit_code)}` : ""}
        {milliseconds === null ? "" : `, ${durationWords(milliseconds)}`}
      </span>
    </button>
  );
}
