import type { Schemas } from "../../api/client";

export type Case = Schemas["CaseView"];
export type CaseChange = "broken" | "fixed" | "slower" | "new" | "gone";

export const CHANGES: CaseChange[] = ["broken", "fixed", "slower", "new", "gone"];

export interface ChangedCase {
  change: CaseChange;
  before?: Case;
  after?: Case;
}

/**
 * Return the tests that differ, those first that need a look. A test is the same if suite, class and name are. The rules
 * for failures and for slower tests are those by which the server compares a job with the one before.
 */
export function changedCases(before: Case[], after: Case[]): ChangedCase[] {
  const old = new Map(before.map((each) => [keyOf(each), each]));
  const keys = new Set(after.map(keyOf));
  const found: ChangedCase[] = after.flatMap((next) => {
    const one = old.get(keyOf(next));
    const change = one ? changeOf(one, next) : "new";
    if (!change) return [];
    return [one ? { change, before: one, after: next } : { change, after: next }];
  });
  for (const each of before) if (!keys.has(keyOf(each))) found.push({ change: "gone", before: each });
  return found.sort((a, b) => CHANGES.indexOf(a.change) - CHANGES.indexOf(b.change));
}

function keyOf(test: Case): string {
  return JSON.stringify([test.suite, test.class_name, test.name]);
}

function changeOf(before: Case, after: Case): CaseChange | null {
  if (hasFailed(after)) return hasFailed(before) ? null : "broken";
  if (hasFailed(before)) return after.status === "passed" ? "fixed" : null;
  return isSlower(before.seconds, after.seconds) ? "slower" : null;
}

function hasFailed(test: Case): boolean {
  return test.status === "failed" || test.status === "error";
}

function isSlower(before: number | null, after: number | null): boolean {
  return before !== null && after !== null && after > 2 * before && after > before + 0.5;
}
