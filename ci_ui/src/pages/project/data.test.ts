// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { nameFrom, rangeFrom } from "./data";

test.each([
  ["/ui/projects/shop", "shop"],
  ["/ui/projects/a%2Fb", "a/b"],
  ["/ui/projects/50%252F", "50%2F"],
  ["/ui/projects/100%", "100%"],
])("%s is the page of %s", (path, name) => {
  expect(nameFrom(path, "/ui/projects/")).toBe(name);
});

test("an unknown range is the first one", () => {
  expect(["jobs=100", "jobs=7", ""].map(rangeFrom)).toEqual([100, 30, 30]);
});
