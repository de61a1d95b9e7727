// @vitest-environment node
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { crc32, type Member, Unreadable, zipped } from "./zip";

const READ = `
import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    assert len(archive.infolist()) > 60_000 or archive.testzip() is None
    print(json.dumps([[each.filename, each.file_size, each.CRC, oct(each.external_attr >> 16)] for each in archive.infolist()]))
`;

/** Return what Python's zipfile reads in an archive, once it has checked every content. */
async function readByPython(members: Member[]): Promise<[string, number, number, string][]> {
  const directory = mkdtempSync(join(tmpdir(), "zip-"));
  try {
    const file = join(directory, "it.zip");
    writeFileSync(file, new Uint8Array(await (await zipped(members)).arrayBuffer()));
    return JSON.parse(execFileSync("python3", ["-c", READ, file], { encoding: "utf8", maxBuffer: 1 << 26 }));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const member = (path: string, content: Uint8Array<ArrayBuffer> | string): Member => ({
  path,
  file: new Blob([content]),
  changed: Date.UTC(2026, 10, 29, 12, 30, 10),
});

test("Python's zipfile reads each kind of member", async () => {
  const noise = new Uint8Array(6 * 1024 * 1024);
  for (let place = 0; place < noise.length; place += 65_536)
    crypto.getRandomValues(noise.subarray(place, place + 65_536));
  const members = [
    member("a.txt", "hello\n".repeat(1_000)),
    member("empty", ""),
    member("ünï/码.bin", noise.slice(0, 5_000)),
    member("large.txt", "x".repeat(9 * 1024 * 1024)),
    member("noise.bin", noise),
    member("run.sh", "#!/bin/sh\necho hello\n"),
    { path: "left empty/", file: null, changed: 0 },
  ];
  const read = await readByPython(members);
  expect(read.map(([path]) => path)).toEqual(members.map(({ path }) => path));
  expect(read.map(([, size]) => size)).toEqual(members.map(({ file }) => file?.size ?? 0));
  expect(read.map(([, , , mode]) => mode)).toEqual([...Array(5).fill("0o100644"), "0o100755", "0o40755"]);
}, 60_000);

test("an archive has more members than a number of 16 bits counts", async () => {
  const folders = Array.from({ length: 66_000 }, (_, n) => ({ path: `${n}/`, file: null, changed: 0 }));
  expect(await readByPython(folders)).toHaveLength(66_000);
}, 60_000);

test("a checksum goes on behind what came before", () => {
  const bytes = new TextEncoder().encode("123456789");
  expect(crc32(bytes)).toBe(0xcbf43926);
  expect(crc32(bytes.subarray(4), crc32(bytes.subarray(0, 4)))).toBe(0xcbf43926);
});

test("a file that cannot be read is named", async () => {
  const file = new Blob(["x"]);
  file.arrayBuffer = () => Promise.reject(new DOMException("gone", "NotReadableError"));
  await expect(zipped([{ path: "a/b", file, changed: 0 }])).rejects.toEqual(new Unreadable("a/b"));
});
