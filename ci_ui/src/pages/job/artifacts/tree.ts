import type { Schemas } from "../../../api/client";

type Artifact = Schemas["ArtifactView"];

export interface Folder {
  name: string;
  folders: Folder[];
  files: { name: string; artifact: Artifact }[];
  /** Of all files in it, at any depth. */
  number: number;
  bytes: number;
}

const empty = (name: string): Folder => ({ name, folders: [], files: [], number: 0, bytes: 0 });

/** Return artifacts as a tree. A folder with nothing but one folder is joined with it. */
export function treeOf(artifacts: Artifact[]): Folder {
  const top = empty("");
  for (const artifact of artifacts) {
    const names = artifact.path.split("/");
    const name = names.pop() ?? "";
    let folder = top;
    count(folder, artifact);
    for (const each of names) {
      folder = within(folder, each);
      count(folder, artifact);
    }
    folder.files.push({ name, artifact });
  }
  top.folders = top.folders.map(joined);
  return top;
}

function count(folder: Folder, artifact: Artifact) {
  folder.number += 1;
  folder.bytes += artifact.size;
}

function within(folder: Folder, name: string): Folder {
  const last = folder.folders.at(-1);
  // Artifacts come in the order of their paths, so a folder's files follow each other.
  if (last?.name === name) return last;
  const made = folder.folders.find((each) => each.name === name) ?? empty(name);
  if (!folder.folders.includes(made)) folder.folders.push(made);
  return made;
}

function joined(folder: Folder): Folder {
  const only = folder.folders[0];
  if (only && folder.folders.length === 1 && !folder.files.length) {
    return joined({ ...only, name: `${folder.name}/${only.name}` });
  }
  return { ...folder, folders: folder.folders.map(joined) };
}
