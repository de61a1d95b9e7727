/** A folder that a browser has been given: by a choice of files, or by a drop. */

export interface Entries {
  folders: Folder[];
  files: FileEntry[];
}

export interface FileEntry {
  name: string;
  open(): Promise<File>;
}

export interface Folder {
  name: string;
  list(): Promise<Entries>;
}

/** Return the folder of an `<input webkitdirectory>`, or null without files. Browsers leave out folders without files. */
export function folderOfFiles(files: Iterable<File>): Folder | null {
  interface Node {
    folders: Map<string, Node>;
    files: FileEntry[];
  }
  const top: Node = { folders: new Map(), files: [] };
  for (const file of files) {
    const names = file.webkitRelativePath.split("/");
    let node = top;
    for (const name of names.slice(0, -1)) {
      const next: Node = node.folders.get(name) ?? { folders: new Map(), files: [] };
      node.folders.set(name, next);
      node = next;
    }
    node.files.push({ name: file.name, open: () => Promise.resolve(file) });
  }
  const asFolder = (name: string, node: Node): Folder => ({
    name,
    list: () =>
      Promise.resolve({
        folders: [...node.folders].map(([inner, each]) => asFolder(inner, each)),
        files: node.files,
      }),
  });
  const [root] = top.folders;
  return root ? asFolder(...root) : null;
}

/** Return the folder that was dropped, or null if something else was. Call it while the drop is handled. */
export function folderOfDrop(items: DataTransferItemList): Folder | null {
  for (const item of items) {
    const entry = item.webkitGetAsEntry();
    if (entry?.isDirectory) return asFolder(entry as FileSystemDirectoryEntry);
  }
  return null;
}

function asFolder(entry: FileSystemDirectoryEntry): Folder {
  return {
    name: entry.name,
    async list() {
      const found: Entries = { folders: [], files: [] };
      const reader = entry.createReader();
      for (;;) {
        // A browser gives some at a time.
        const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
        if (!some.length) return found;
        for (const each of some) {
          if (each.isDirectory) {
            found.folders.push(asFolder(each as FileSystemDirectoryEntry));
          } else {
            const file = each as FileSystemFileEntry;
            found.files.push({
              name: file.name,
              open: () => new Promise((resolve, reject) => file.file(resolve, reject)),
            });
          }
        }
      }
    },
  };
}
