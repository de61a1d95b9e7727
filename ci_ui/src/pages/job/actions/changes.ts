import { againText } from "#text/again";
import type { Schemas } from "../../../api/client";
import { commandOf } from "../../../components/job_name";

type Job = Pick<Schemas["JobView"], "payload" | "image" | "labels" | "project" | "priority">;

/** What is to be different in a job that is run again, as it is typed. */
export interface Form {
  command: string;
  /** JSON; empty where the job has a command instead. */
  steps: string;
  image: string;
  /** Lines such as `NAME=value`. */
  env: string;
  /** Lines such as `key:value`. */
  labels: string;
  project: string;
  timeout: string;
  memory: string;
  cpus: string;
  priority: string;
  isFresh: boolean;
}

export type Wrong = Partial<Record<keyof Form, string>>;

const MASKED = /\*\*\*/;

/** Return the form as the old job fills it. Values that are masked are left out: they stay as they are. */
export function formOf(job: Job): Form {
  const { payload } = job;
  const limits = (payload.limits ?? {}) as Record<string, unknown>;
  const command = commandOf(payload.command) ?? "";
  const steps = payload.steps ? JSON.stringify(payload.steps, null, 2) : "";
  return {
    command: MASKED.test(command) ? "" : command,
    steps: MASKED.test(steps) ? "" : steps,
    image: job.image && !MASKED.test(job.image) ? job.image : "",
    env: lines(
      variables(job).filter(([, value]) => !MASKED.test(value)),
      "=",
    ),
    labels: lines(Object.entries(job.labels), ":"),
    project: job.project ?? "",
    timeout: shown(payload.timeout),
    memory: shown(limits.memory),
    cpus: shown(limits.cpus),
    priority: String(job.priority),
    isFresh: false,
  };
}

/** Return the names of variables whose values are not shown, and which stay as they are. */
export function maskedNames(job: Job): string[] {
  return variables(job)
    .filter(([, value]) => MASKED.test(value))
    .map(([name]) => name);
}

function variables(job: Job): [string, string][] {
  const entries = Object.entries((job.payload.env ?? {}) as Record<string, unknown>);
  return entries.map(([name, value]) => [name, String(value)]);
}

const lines = (pairs: [string, string][], mark: string) => pairs.map(([name, value]) => name + mark + value).join("\n");
const shown = (value: unknown) => (value === null || value === undefined ? "" : String(value));

/** Return what differs between two forms, as the API takes it, or what is wrong with the second one. */
export function changesOf(before: Form, after: Form): { changes: Record<string, unknown>; wrong: Wrong } {
  const changes: Record<string, unknown> = {};
  const wrong: Wrong = {};
  for (const name of ["command", "image", "project", "timeout", "priority"] as const) {
    const value = after[name].trim();
    if (value !== before[name].trim() && value) changes[name] = value;
  }
  if (after.steps.trim() !== before.steps.trim() && after.steps.trim()) {
    try {
      changes.steps = JSON.parse(after.steps);
    } catch (error) {
      wrong.steps = againText.notJson(error instanceof Error ? error.message : "");
    }
  }
  if (changes.command && changes.steps) wrong.command = againText.notBoth;
  const limits = Object.fromEntries(
    (["memory", "cpus"] as const)
      .filter((name) => after[name].trim() !== before[name] && after[name].trim())
      .map((name) => [name, after[name].trim()]),
  );
  if (Object.keys(limits).length) changes.limits = limits;
  changedPairs("env", "=", before, after, changes, wrong);
  changedPairs("labels", ":", before, after, changes, wrong);
  if (after.isFresh) changes.fresh = true;
  return { changes, wrong };
}

function changedPairs(
  name: "env" | "labels",
  mark: string,
  before: Form,
  after: Form,
  changes: Record<string, unknown>,
  wrong: Wrong,
) {
  const old = pairsOf(before[name], mark).pairs;
  const { pairs, bad } = pairsOf(after[name], mark);
  if (bad !== null) wrong[name] = againText.badLine(bad, mark);
  const changed = [...pairs].filter(([key, value]) => old.get(key) !== value);
  if (changed.length) changes[name] = Object.fromEntries(changed);
}

function pairsOf(typed: string, mark: string): { pairs: Map<string, string>; bad: string | null } {
  const pairs = new Map<string, string>();
  let bad: string | null = null;
  for (const line of typed.split("\n")) {
    if (!line.trim()) continue;
    const at = line.indexOf(mark);
    if (at > 0) pairs.set(line.slice(0, at).trim(), line.slice(at + 1));
    else bad ??= line;
  }
  return { pairs, bad };
}
