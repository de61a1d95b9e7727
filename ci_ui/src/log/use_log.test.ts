// @vitest-environment happy-dom
import { expect, test } from "vitest";
import type { Row } from "./rows";
import { missingRows } from "./use_log";

const LINES = 10_000;

function known(first: number, last: number): Map<number, Row> {
  const rows = new Map<number, Row>();
  for (let line = first; line <= last; line += 1) {
    rows.set(line, { line, offset: 0, runs: [], source: null, hiddenBytes: 0 });
  }
  return rows;
}

test.each([
  ["nothing, if all is there and the view stands", known(1_000, 1_050), 0, null],
  ["what is missing, if the view stands", known(1_000, 1_020), 0, [1_021, 1_050]],
  ["nothing, if what comes soon is there", known(900, 1_400), 1, null],
  ["what comes into view below", known(1_000, 1_100), 1, [1_101, 1_650]],
  ["what comes into view above", known(900, 1_050), -1, [400, 899]],
])("is read: %s", (_, rows, direction, wanted) => {
  expect(missingRows(rows, 1_000, 1_050, direction, LINES)).toEqual(wanted);
});

test("nothing is read before the first line and after the last one", () => {
  expect(missingRows(known(1, 50), 1, 50, -1, LINES)).toBeNull();
  expect(missingRows(known(9_951, LINES), 9_951, LINES, 1, LINES)).toBeNull();
  expect(missingRows(known(9_801, 9_850), 9_801, 9_850, 1, LINES)).toEqual([9_851, LINES]);
});
