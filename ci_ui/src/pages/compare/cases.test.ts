import { expect, test } from "vitest";
import { type Case, changedCases } from "./cases";

function result(name: string, status: Case["status"], seconds: number | null = 0.1): Case {
  return { suite: "s", class_name: "c", name, status, seconds } as Case;
}

test("each kind of change is told, and those that need a look come first", () => {
  const before = [
    result("same", "passed"),
    result("gone", "passed"),
    result("fixed", "error"),
    result("broken", "passed"),
    result("slower", "passed", 0.4),
    result("hardly slower", "passed", 0.2),
    result("still failing", "failed"),
    result("left out", "failed"),
  ];
  const after = [
    result("same", "passed"),
    result("new", "failed"),
    result("slower", "passed", 1),
    result("hardly slower", "passed", 0.6),
    result("fixed", "passed"),
    result("broken", "failed"),
    result("still failing", "error"),
    result("left out", "skipped"),
  ];
  expect(changedCases(before, after).map((each) => [each.change, (each.after ?? each.before)?.name])).toEqual([
    ["broken", "broken"],
    ["fixed", "fixed"],
    ["slower", "slower"],
    ["new", "new"],
    ["gone", "gone"],
  ]);
});
