import { Validator } from "@cfworker/json-schema";
import { submitText } from "#text/submit";
import { readWhole } from "../../api/reading";
import { apiUrl } from "../../app/base";

/** What is typed, as it is typed. */
export interface Options {
  image: string;
  command: string;
  project: string;
  timeout: string;
  labels: string;
  env: string;
  secrets: string;
}

export const NO_OPTIONS: Options = {
  image: "",
  command: "",
  project: "",
  timeout: "",
  labels: "",
  env: "",
  secrets: "",
};

export interface Wrong {
  path: string;
  message: string;
}

/** A field is not as it has to be. */
export class WrongOption extends Error {}

/** Return the spec that the options make. Throws WrongOption. */
export function specOf(options: Options): Record<string, unknown> {
  const spec: Record<string, unknown> = {};
  for (const name of ["image", "command", "project", "timeout"] as const) {
    if (options[name].trim()) spec[name] = options[name].trim();
  }
  const labels = pairs(options.labels);
  if (Object.keys(labels).length) spec.labels = labels;
  const env = pairs(options.env);
  if (Object.keys(env).length) spec.env = env;
  const secrets = options.secrets.split(/[\s,]+/).filter(Boolean);
  if (secrets.length) spec.secrets = secrets;
  return spec;
}

function pairs(lines: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const line of lines.split("\n")) {
    if (!line.trim()) continue;
    const at = line.indexOf("=");
    if (at < 1) throw new WrongOption(submitText.wrongLine(line.trim()));
    found[line.slice(0, at).trim()] = line.slice(at + 1);
  }
  return found;
}

let validator: Promise<Validator> | undefined;

/** Return what the server's schema finds wrong with a spec. Without the schema, nothing: the server checks in any case. */
export async function check(spec: Record<string, unknown>): Promise<Wrong[]> {
  validator ??= readWhole(`${apiUrl}/schema/spec.json`)
    .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(answer.statusText))))
    .then((schema) => new Validator(schema, "2020-12", false));
  try {
    const { errors } = (await validator).validate(spec);
    // The deepest errors say most.
    const fields = errors.filter(({ instanceLocation }) => instanceLocation !== "#");
    const seen = new Map<string, Wrong>();
    for (const { instanceLocation, error } of fields) {
      const path = instanceLocation.replace(/^#\//, "").replaceAll("/", ".");
      if (![...seen.keys()].some((each) => each.startsWith(`${path}.`))) seen.set(path, { path, message: error });
    }
    return [...seen.values()];
  } catch {
    validator = undefined;
    return [];
  }
}
