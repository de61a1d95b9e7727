import type { Schemas } from "../api/client";

type Named = Pick<Schemas["JobView"], "payload" | "type" | "labels">;

const LONGEST = 300;

/** Return what a job is called: its label `name`, or its command, its steps, what was uploaded, or its type. */
export function nameOf(job: Named): string {
  const found =
    job.labels.name ?? commandOf(job.payload.command) ?? stepsOf(job.payload.steps) ?? uploadOf(job.payload);
  const line = (found ?? job.type).replace(/\s+/g, " ").trim();
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line || job.type;
}

/** Return a command as a shell shows it: text as it is, a program and its arguments with quotes where they need them. */
export function commandOf(command: unknown): string | undefined {
  if (typeof command === "string") return command;
  if (!Array.isArray(command) || !command.length) return undefined;
  return command.map((each) => quoted(String(each))).join(" ");
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function stepsOf(steps: unknown): string | undefined {
  if (!Array.isArray(steps) || !steps.length) return undefined;
  return steps.map(stepName).join(", ");
}

function stepName(step: unknown): string {
  if (typeof step === "string") return step;
  const { name, run } = step as { name?: unknown; run?: unknown };
  return String(name ?? run ?? "");
}

function uploadOf(payload: Named["payload"]): string | undefined {
  const upload = payload.upload as { filename?: unknown } | undefined;
  return typeof upload?.filename === "string" ? upload.filename : undefined;
}
