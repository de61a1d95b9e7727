import { dump, load } from "js-yaml";
import { againText } from "#text/again";
import type { Schemas } from "../../../api/client";
import { commandOf } from "../../../components/job_name";

export type Run = Schemas["RecordView"]["run"];
type Spec = Record<string, unknown>;

const MASKED = "***";
/** What a plan has under the same name as a spec, and what a retry may change of it. */
const OF_PLAN = ["timeout", "no_output_timeout", "stop_grace", "limits", "retry", "network"] as const;
const OF_JOB = ["priority", "project", "labels"] as const;
/** Fields whose own fields are changed one by one. */
const MERGED = new Set(["env", "limits", "retry", "labels"]);

/** Return what may be changed of a run, as the fields of ci.yaml have it. What is masked is left out, and stays as it is. */
export function specOf(run: Run): Spec {
  const plan = (run.plan ?? {}) as Spec;
  const setup = (plan.setup as { steps?: number } | null | undefined)?.steps ?? 0;
  const steps = (run.inputs.steps as unknown as PlannedStep[]).slice(setup);
  const spec: Spec = { image: plan.image, ...ofSteps(steps), env: run.inputs.environment.variables };
  for (const name of OF_PLAN) spec[name] = plan[name];
  for (const name of OF_JOB) spec[name] = run[name];
  return unmasked(filled(spec));
}

/** Return the text of a spec, as it could be in ci.yaml. */
export function textOf(spec: Spec): string {
  return dump(spec, { lineWidth: -1 });
}

/** Return in what a text differs from a spec, as the API takes it, or what is wrong with the text. */
export function changesOfText(before: Spec, text: string): { changes: Spec; wrong: string | null } {
  if (!text.trim()) return { changes: {}, wrong: againText.notFields };
  let after: unknown;
  try {
    after = load(text);
  } catch (error) {
    return { changes: {}, wrong: againText.notYaml(error instanceof Error ? error.message : String(error)) };
  }
  if (!isObject(after)) return { changes: {}, wrong: againText.notFields };
  const changes: Spec = {};
  for (const [name, value] of Object.entries(after)) {
    const old = before[name];
    if (same(old, value)) continue;
    if (MERGED.has(name) && isObject(value) && isObject(old)) {
      changes[name] = Object.fromEntries(Object.entries(value).filter(([key, each]) => !same(old[key], each)));
    } else changes[name] = value;
  }
  return { changes, wrong: null };
}

interface PlannedStep {
  name: string;
  shell: string | null;
  argv: string[] | null;
  stop_at_failure: boolean;
  condition: string;
  continue_on_error: boolean;
  timeout: number | null;
  directory: string | null;
  env: Record<string, string>;
}

function ofSteps(steps: PlannedStep[]): Spec {
  const [first] = steps;
  if (!first) return {};
  if (steps.length === 1 && first.name === "command" && !first.stop_at_failure) {
    return { command: first.argv ?? first.shell };
  }
  return { steps: steps.map(stepOf) };
}

function stepOf(step: PlannedStep): Spec {
  return filled({
    name: step.name,
    run: step.shell ?? commandOf(step.argv) ?? "",
    if: step.condition === "success" ? null : step.condition,
    continue_on_error: step.continue_on_error || null,
    timeout: step.timeout,
    working_directory: step.directory,
    env: step.env,
  });
}

/** Return the fields that say something. */
function filled(spec: Spec): Spec {
  const found = Object.entries(spec).map(([name, value]) => [name, isObject(value) ? filled(value) : value] as const);
  return Object.fromEntries(
    found.filter(
      ([, value]) => value !== null && value !== undefined && !(isObject(value) && !Object.keys(value).length),
    ),
  );
}

/** Return the fields without those of which something is masked; of those that are changed one by one, what is not. */
function unmasked(spec: Spec): Spec {
  const kept = Object.entries(spec).map(([name, value]) => [
    name,
    MERGED.has(name) && isObject(value) ? unmasked(value) : value,
  ]);
  return Object.fromEntries(kept.filter(([, value]) => !JSON.stringify(value).includes(MASKED)));
}

function isObject(value: unknown): value is Spec {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function same(one: unknown, other: unknown): boolean {
  return sorted(one) === sorted(other);
}

/** Return JSON with the names in order. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_, each) =>
    isObject(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each,
  );
}
