/** What two runs do not have in common; `ci_client/records.py` compares them by the same rules for `ci diff`. */
export interface Difference {
  part: string;
  name: string;
  before: unknown;
  after: unknown;
}

type Document = Record<string, unknown>;

const PARTS: [string, string[]][] = [
  ["result", ["conclusion", "exit_code", "reason.code"]],
  ["image", ["image.name", "image.id", "image.digest"]],
  ["environment", ["environment.key", "environment.hit", "inputs.environment.variables"]],
  ["plan", ["plan", "runtime", "start_way"]],
  ["upload", ["upload.sha256", "upload.size"]],
  ["tests", ["tests"]],
  ["artifacts", ["inputs.artifacts", "artifact_totals"]],
  ["outputs", ["outputs"]],
  ["log", ["log.bytes", "log.sha256"]],
];
const USED = ["peak_memory", "cpu_seconds", "read_bytes", "written_bytes", "received_bytes", "sent_bytes"];

/** Return what the `run` of two records do not have in common, but for times of day and ids. */
export function differences(before: Document, after: Document): Difference[] {
  const found: Difference[] = [];
  for (const [part, paths] of PARTS) {
    for (const path of paths) {
      found.push(...compared(part, path.slice(path.lastIndexOf(".") + 1), at(before, path), at(after, path)));
    }
  }
  found.push(...stepsOf(before, after));
  const used: Difference[] = [
    { part: "used", name: "seconds", before: secondsOf(before), after: secondsOf(after) },
    ...USED.map((name) => ({
      part: "used",
      name,
      before: at(before, `resources.${name}`),
      after: at(after, `resources.${name}`),
    })),
  ];
  return [...found, ...used.filter((each) => !same(each.before, each.after))];
}

function compared(part: string, name: string, before: unknown, after: unknown): Difference[] {
  if (isObject(before) && isObject(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return keys.flatMap((key) => compared(part, `${name}.${key}`, before[key] ?? null, after[key] ?? null));
  }
  return same(before, after) ? [] : [{ part, name, before, after }];
}

function stepsOf(before: Document, after: Document): Difference[] {
  const found: Difference[] = [];
  const plans = [before, after].map((run) => list(at(run, "inputs.steps")));
  const [old = [], next = []] = plans;
  for (let number = 0; number < Math.max(old.length, next.length); number++) {
    const one = old[number];
    const other = next[number];
    const name = String((other ?? one)?.name ?? number + 1);
    if (one && other) found.push(...compared("steps", name, one, other));
    else found.push({ part: "steps", name, before: one ? "there" : null, after: other ? "there" : null });
  }
  const ended = [before, after].map((run) => new Map(list(run.steps).map((step) => [String(step.name), step])));
  for (const name of new Set(ended.flatMap((steps) => [...steps.keys()]))) {
    const one = ended[0]?.get(name) ?? {};
    const other = ended[1]?.get(name) ?? {};
    for (const field of ["status", "exit_code", "reason"]) {
      found.push(...compared("steps", `${name}.${field}`, one[field] ?? null, other[field] ?? null));
    }
    found.push(...compared("steps", `${name}.seconds`, secondsOf(one), secondsOf(other)));
  }
  return found;
}

/** Return how many seconds something took that has a start and an end; null if one of them is not known. */
export function secondsOf({ start_time: start, end_time: end }: Document): number | null {
  if (typeof start !== "string" || typeof end !== "string") return null;
  return Math.round(Date.parse(end) - Date.parse(start)) / 1_000;
}

function at(document: unknown, path: string): unknown {
  let found = document;
  for (const name of path.split(".")) found = isObject(found) ? found[name] : null;
  return found ?? null;
}

function list(value: unknown): Document[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function isObject(value: unknown): value is Document {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function same(one: unknown, other: unknown): boolean {
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((each, index) => same(each, other[index]));
  }
  if (isObject(one) && isObject(other)) return !compared("", "", one, other).length;
  return one === other || (one ?? null) === (other ?? null);
}

export type Change = "added" | "removed" | "changed";

export interface ChangedFile<File> {
  path: string;
  change: Change;
  before: File | undefined;
  after: File | undefined;
}

/** Return the files in which two lists differ, by path. */
export function changedFiles<File extends { path: string; sha256: string }>(
  before: File[],
  after: File[],
): ChangedFile<File>[] {
  const old = new Map(before.map((file) => [file.path, file]));
  const next = new Map(after.map((file) => [file.path, file]));
  const paths = [...new Set([...old.keys(), ...next.keys()])].sort();
  return paths
    .map((path) => ({ path, before: old.get(path), after: next.get(path) }))
    .filter((file) => file.before?.sha256 !== file.after?.sha256)
    .map((file) => ({ ...file, change: !file.before ? "added" : !file.after ? "removed" : "changed" }));
}
