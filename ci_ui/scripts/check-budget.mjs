// Fails if the built page is larger than its budget: compressed by gzip, as the slowest of browsers would load it.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const FIRST_SCRIPTS = 110 * 1024;
const FIRST_STYLES = 15 * 1024;
const LATER_SCRIPT = 140 * 1024;

const dist = new URL("../../ci_server/ui/dist/", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL("manifest.json", dist), "utf8"));
const size = (file) => gzipSync(readFileSync(new URL(file, dist))).length;

/** Return all files that are loaded with an entry of the manifest. */
function loaded(name, seen = new Set()) {
  if (seen.has(name)) return { scripts: new Set(), styles: new Set() };
  seen.add(name);
  const chunk = manifest[name];
  const scripts = new Set([chunk.file]);
  const styles = new Set(chunk.css ?? []);
  for (const each of chunk.imports ?? []) {
    const more = loaded(each, seen);
    for (const file of more.scripts) scripts.add(file);
    for (const file of more.styles) styles.add(file);
  }
  return { scripts, styles };
}

const total = (files) => [...files].reduce((sum, file) => sum + size(file), 0);
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;
const first = loaded("index.html");
const problems = [];
const hold = (what, bytes, limit) => {
  console.log(`${what}: ${kib(bytes)} of ${kib(limit)}`);
  if (bytes > limit) problems.push(`${what} has ${kib(bytes)}, and at most ${kib(limit)} are allowed`);
};
hold("scripts of the first load", total(first.scripts), FIRST_SCRIPTS);
hold("styles of the first load", total(first.styles), FIRST_STYLES);
for (const chunk of Object.values(manifest)) {
  if (chunk.isEntry || first.scripts.has(chunk.file) || !chunk.file.endsWith(".js")) continue;
  hold(chunk.file, size(chunk.file), LATER_SCRIPT);
}
if (problems.length) {
  console.error(problems.join("\n"));
  process.exit(1);
}
