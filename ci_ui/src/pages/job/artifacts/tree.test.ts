// @vitest-environment happy-dom
import { expect, test } from "vitest";
import type { Schemas } from "../../../api/client";
import { kindOf } from "./kinds";
import { treeOf } from "./tree";

const file = (path: string, size = 1) => ({ path, size }) as Schemas["ArtifactView"];

test("artifacts become a tree with sums, and folders of one folder are joined", () => {
  const tree = treeOf([file("a", 5), file("b/c/d/e", 2), file("b/c/d/f", 3), file("g/h"), file("g/i/j")]);
  expect(tree.number).toBe(5);
  expect(tree.files.map(({ name }) => name)).toEqual(["a"]);
  expect(tree.folders.map(({ name, number, bytes }) => [name, number, bytes])).toEqual([
    ["b/c/d", 2, 5],
    ["g", 2, 2],
  ]);
  expect(tree.folders[1]?.folders[0]?.name).toBe("i");
});

test.each([
  ["a/index.html", "text/html; charset=utf-8", "report"],
  ["a.md", "text/plain; charset=utf-8", "markdown"],
  ["a.json", "application/json", "json"],
  ["a.png", "image/png", "image"],
  ["a.svg", "image/svg+xml", "image"],
  ["a.py", "text/plain; charset=utf-8", "text"],
  ["a.whl", "application/zip", "none"],
])("%s is shown as %s says", (path, content_type, kind) => {
  expect(kindOf({ path, content_type } as Schemas["ArtifactView"])).toBe(kind);
});
