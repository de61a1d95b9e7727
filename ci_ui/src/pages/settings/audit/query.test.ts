import { expect, test } from "vitest";
import { isNarrowed, pageOf, queryOf, withFilter } from "./query";

test("an address is asked for as the API has it, and what it does not know is left out", () => {
  const params = new URLSearchParams("actor=alice&outcome=maybe&since=2026-01-31&until=2026-01-31&project=+&x=1");
  const query = queryOf(params);
  expect(Object.keys(query).sort()).toEqual(["actor", "before", "since"]);
  expect(Date.parse(query.before as string) - Date.parse(query.since as string)).toBe(86_400_000);
  expect([isNarrowed(params), isNarrowed(new URLSearchParams("cursor=9&since=soon"))]).toEqual([true, false]);
});

test("a changed filter leads to the first page", () => {
  const params = new URLSearchParams("actor=alice&cursor=9");
  expect(withFilter(params, "actor", "").toString()).toBe("");
  expect(withFilter(params, "outcome", "refused").toString()).toBe("actor=alice&outcome=refused");
});

test.each([
  ["/jobs/01J/cancel", "/jobs/01J"],
  ["/projects/web%20site/members/bob", "/projects/web%20site"],
  ["/jobs/cleanup", null],
  ["/secrets/TOKEN", null],
])("what %s is about is shown at %s", (target, page) => {
  expect(pageOf(target)).toBe(page);
});
