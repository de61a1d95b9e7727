/**
 * Decides which files of a directory belong to the project, by the rules of `ci_client/packing/ignore.py`: what that
 * module promises holds here, and the same table of cases is run through both.
 */
import { translateName, translatePath } from "./wildmatch";

/** Names of files or directories that are left out at any depth. */
const LEFT_OUT = new Set(
  (
    ".git .hg .svn __pycache__ .mypy_cache .pytest_cache .ruff_cache .hypothesis .tox .nox " +
    "ci_jobs.db ci_jobs.db-wal ci_jobs.db-shm ci_jobs.db-ballast ci_jobs.data"
  ).split(" "),
);
const ENVIRONMENT_MARK = "pyvenv.cfg";

interface Rule {
  expression: RegExp;
  leaveOut: boolean;
  forNames: boolean;
  forDirectories: boolean;
  name: string;
  number: number;
  text: string;
}

/** Why an entry is left out. `file` is null for a name that is always left out, and `pyvenv.cfg` for a virtual environment. */
export interface Cause {
  file: string | null;
  /** From 1; null for a built-in rule. */
  line: number | null;
  pattern: string | null;
}

const encoder = new TextEncoder();

/** Return a name's bytes as text, each byte as the character with its number. */
export function asBytes(name: string): string {
  const bytes = encoder.encode(name);
  return bytes.length === name.length ? name : latin(bytes);
}

function latin(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** The rules of one ignore file. Paths are relative to the file's directory. */
export class IgnoreFile {
  readonly #rules: Rule[];

  constructor(
    raw: Uint8Array,
    readonly path = "",
  ) {
    const lines = latin(raw)
      .replace(/^\xef\xbb\xbf/, "")
      .split("\n");
    this.#rules = lines
      .map((line, number) => parsed(line.replace(/\r$/, "").split("\0", 1)[0] ?? "", number))
      .filter((rule) => rule !== null)
      .reverse();
  }

  /** Return the last rule that matches an entry itself, not one of its parents. */
  verdict(name: string, path: string, isDirectory: boolean): Rule | undefined {
    return this.#rules.find(
      (rule) => (isDirectory || !rule.forDirectories) && rule.expression.test(rule.forNames ? name : path),
    );
  }
}

function parsed(line: string, number: number): Rule | null {
  if (line.startsWith("#")) return null;
  let pattern = withoutSpacesAtEnd(line);
  const leaveOut = !pattern.startsWith("!");
  if (!leaveOut) pattern = pattern.slice(1);
  const forDirectories = pattern.endsWith("/");
  if (forDirectories) pattern = pattern.slice(0, -1);
  const forNames = !pattern.includes("/");
  const expression = forNames ? translateName(pattern) : translatePath(pattern.replace(/^\//, ""));
  if (!expression) return null;
  const name = pattern.slice(pattern.lastIndexOf("/") + 1).replace(/\\(.)/gs, "$1");
  return { expression, leaveOut, forNames, forDirectories, name, number, text: line };
}

function withoutSpacesAtEnd(line: string): string {
  const cut = line.replace(/ +$/, "");
  const backslashes = cut.length - cut.replace(/\\+$/, "").length;
  return backslashes % 2 ? line.slice(0, cut.length + 1) : cut;
}

type Files = [path: string, file: IgnoreFile][];

/** The rules that apply in one directory of a tree. Each file comes with this directory's path relative to the file's. */
export class Rules {
  private constructor(
    private readonly git: Files,
    private readonly ci: Files,
  ) {}

  /** Return the rules of the packed directory. `exclude` is `.git/info/exclude`. */
  static ofRoot(own: OwnFiles, exclude: IgnoreFile | null): Rules {
    return new Rules(exclude ? [["", exclude]] : [], []).#with(own);
  }

  /** Return the rules of the directory `name` in this one. */
  below(name: string, own: OwnFiles): Rules {
    const step = `${asBytes(name)}/`;
    const moved = (files: Files): Files => files.map(([path, file]) => [path + step, file]);
    return new Rules(moved(this.git), moved(this.ci)).#with(own);
  }

  /** Return why an entry of this directory is left out, or null. `isEnvironment`: it is a directory with a `pyvenv.cfg`. */
  leftOutBy(name: string, isDirectory: boolean, isEnvironment: boolean): Cause | null {
    const text = asBytes(name);
    const askedFor = strongest(this.ci, text, isDirectory);
    const always = LEFT_OUT.has(name);
    if (always || isEnvironment) {
      if (!askedFor) return { file: always ? null : ENVIRONMENT_MARK, line: null, pattern: null };
      return askedFor[1].leaveOut || askedFor[1].name !== text ? causeOf(askedFor) : null;
    }
    const found = askedFor ?? strongest(this.git, text, isDirectory);
    return found?.[1].leaveOut ? causeOf(found) : null;
  }

  #with({ git, ci }: OwnFiles): Rules {
    return new Rules(git ? [["", git], ...this.git] : this.git, ci ? [["", ci], ...this.ci] : this.ci);
  }
}

/** The ignore files of one directory: `.gitignore` and `.ciignore`. */
export interface OwnFiles {
  git: IgnoreFile | null;
  ci: IgnoreFile | null;
}

function strongest(files: Files, name: string, isDirectory: boolean): [IgnoreFile, Rule] | undefined {
  for (const [path, file] of files) {
    const rule = file.verdict(name, path + name, isDirectory);
    if (rule) return [file, rule];
  }
  return undefined;
}

function causeOf([file, rule]: [IgnoreFile, Rule]): Cause {
  if (!rule.leaveOut) return { file: null, line: null, pattern: null };
  const pattern = new TextDecoder().decode(Uint8Array.from(rule.text, (char) => char.charCodeAt(0)));
  return { file: file.path, line: rule.number + 1, pattern };
}
