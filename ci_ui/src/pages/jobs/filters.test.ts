import { expect, test } from "vitest";
import { addressOf, areEmpty, filtersOf, queryOf } from "./filters";

const NOW = Date.parse("2026-01-08T12:00:00Z");

test("filters survive the way through an address", () => {
  const address = "state=failed&project=a+b&label=x%3A1&label=y%3A%26&q=make&since=7d";
  expect(addressOf(filtersOf(new URLSearchParams(address))).toString()).toBe(address);
});

test("what is no filter counts as none", () => {
  expect(areEmpty(filtersOf(new URLSearchParams("state=lost&label=x&since=soon&cursor=1")))).toBe(true);
});

test("the API is asked for states by status, for ends by conclusion, and for times as such", () => {
  const ask = (address: string) => queryOf(filtersOf(new URLSearchParams(address)), NOW);
  expect(ask("state=active")).toEqual({ status: ["queued", "running"] });
  expect(ask("state=timed_out&q=++")).toEqual({ conclusion: "timed_out" });
  expect(ask("since=1h")).toEqual({ since: "2026-01-08T11:00:00.000Z" });
  expect(ask("since=2025-12-01&label=a:b")).toEqual({ since: "2025-12-01T00:00:00.000Z", label: ["a:b"] });
});
