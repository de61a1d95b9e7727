import type { Entries, Folder } from "./folder";
import { type Cause, IgnoreFile, Rules } from "./ignore";
import type { Member } from "./zip";

export interface LeftOut {
  /** Ends with `/` for a folder. */
  path: string;
  cause: Cause;
}

/** What of a folder is sent. */
export interface Selection {
  name: string;
  members: Member[];
  /** Files only. */
  count: number;
  bytes: number;
  leftOut: LeftOut[];
  /** Files that look as if they held a secret. */
  suspicious: string[];
  /** The content of `ci.yaml`, or null. */
  specText: string | null;
}

/** A folder cannot be sent. */
export class NotSendable extends Error {
  constructor(
    readonly why: "empty" | "control_character" | "drive" | "too_long" | "unreadable",
    readonly path: string,
  ) {
    super(`${why}: ${path}`);
    this.name = "NotSendable";
  }
}

const SUSPICIOUS =
  /^(\.env(\..+)?|\.netrc|\.npmrc|\.pypirc|\.htpasswd|id_(rsa|dsa|ecdsa|ed25519)|.*\.(pem|key|p12|pfx|jks|keystore|kdbx)|credentials(\.json)?|secrets?\.(ya?ml|json|toml))$/i;
const HARMLESS = /^\.env\.(example|sample|template|dist)$/i;
const SPEC = "ci.yaml";
const LARGEST_SPEC = 1024 * 1024;
const PATH_BYTES = 2_048;
const NAME_BYTES = 255;
const PAUSE_MS = 50;

/** Return what is sent of a folder, by the rules of the command. `onProgress` is told the files so far. Throws NotSendable. */
export async function select(
  root: Folder,
  onProgress: (files: number) => void,
  signal: AbortSignal,
): Promise<Selection> {
  const selection: Selection = {
    name: root.name,
    members: [],
    count: 0,
    bytes: 0,
    leftOut: [],
    suspicious: [],
    specText: null,
  };
  let told = performance.now();
  const first = await listed(root, "");
  await walk(first, "", Rules.ofRoot(await ownFiles(first, ""), await excluded(first)));
  if (!selection.count) throw new NotSendable("empty", root.name);
  return selection;

  async function walk(entries: Entries, path: string, rules: Rules) {
    const all = [
      ...entries.folders.map((folder) => ({ name: folder.name, folder, file: null })),
      ...entries.files.map((file) => ({ name: file.name, folder: null, file })),
    ].sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const { name, folder, file } of all) {
      signal.throwIfAborted();
      const here = path + name;
      if (folder) {
        const inside = await inner(folder, here);
        const isEnvironment = inside?.files.some((each) => each.name === "pyvenv.cfg") ?? false;
        const cause = rules.leftOutBy(name, true, isEnvironment);
        if (cause) {
          selection.leftOut.push({ path: `${here}/`, cause });
          continue;
        }
        checkName(`${here}/`);
        const entered = inside ?? (await listed(folder, here));
        const before = selection.members.length;
        await walk(entered, `${here}/`, rules.below(name, await ownFiles(entered, `${here}/`)));
        if (selection.members.length === before) selection.members.push({ path: `${here}/`, file: null, changed: 0 });
      } else if (file) {
        const cause = rules.leftOutBy(name, false, false);
        if (cause) {
          selection.leftOut.push({ path: here, cause });
          continue;
        }
        checkName(here);
        const content = await file.open().catch(() => Promise.reject(new NotSendable("unreadable", here)));
        selection.members.push({ path: here, file: content, changed: content.lastModified });
        selection.count += 1;
        selection.bytes += content.size;
        if (SUSPICIOUS.test(name) && !HARMLESS.test(name)) selection.suspicious.push(here);
        if (here === SPEC && content.size <= LARGEST_SPEC) selection.specText = await content.text();
        if (performance.now() - told > PAUSE_MS) {
          told = performance.now();
          onProgress(selection.count);
          await new Promise((resolve) => setTimeout(resolve));
        }
      }
    }
  }
}

/** Return a folder's entries if they say whether it is a virtual environment; null for one that is left out anyway. */
async function inner(folder: Folder, path: string): Promise<Entries | null> {
  return folder.name === ".git" || folder.name === "node_modules" ? null : listed(folder, path);
}

async function listed(folder: Folder, path: string): Promise<Entries> {
  try {
    return await folder.list();
  } catch {
    throw new NotSendable("unreadable", path);
  }
}

async function ownFiles(entries: Entries, path: string) {
  const read = async (name: string) => {
    const found = entries.files.find((file) => file.name === name);
    if (!found) return null;
    try {
      return new IgnoreFile(new Uint8Array(await (await found.open()).arrayBuffer()), path + name);
    } catch {
      throw new NotSendable("unreadable", path + name);
    }
  };
  return { git: await read(".gitignore"), ci: await read(".ciignore") };
}

/** Return the rules of `.git/info/exclude`, or null. */
async function excluded(entries: Entries): Promise<IgnoreFile | null> {
  const git = await entries.folders.find(({ name }) => name === ".git")?.list();
  const info = await git?.folders.find(({ name }) => name === "info")?.list();
  const file = await info?.files.find(({ name }) => name === "exclude")?.open();
  return file ? new IgnoreFile(new Uint8Array(await file.arrayBuffer()), ".git/info/exclude") : null;
}

/** Throw NotSendable for a name that servers refuse. */
function checkName(path: string) {
  if (/\p{Cc}/u.test(path)) throw new NotSendable("control_character", path);
  if (/^[A-Za-z]:[/\\]/.test(path)) throw new NotSendable("drive", path);
  const size = (text: string) => new TextEncoder().encode(text).length;
  if (path.length * 3 < NAME_BYTES) return;
  if (size(path.replace(/\/$/, "")) > PATH_BYTES || path.split("/").some((name) => size(name) > NAME_BYTES)) {
    throw new NotSendable("too_long", path);
  }
}
