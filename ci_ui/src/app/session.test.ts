// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { may, maySomewhere, mustSignIn, returnPath, type Session } from "./session";

const search = (returnTo: string) => `?${new URLSearchParams({ return_to: returnTo })}`;

test.each([
  ["/ui/jobs/1?tab=log#L3-L9", "/jobs/1?tab=log#L3-L9"],
  ["/team/ci/ui/jobs/1", "/jobs/1"],
  ["/ui/", "/"],
  ["", "/"],
  ["//evil.example/ui/", "/"],
  ["https://evil.example/ui/", "/"],
  ["/ui/../jobs", "/"],
  ["/ui/%2e%2e/%2e%2e/x", "/"],
  ["/ui/\\evil.example", "/"],
  ["javascript:alert(1)", "/"],
  ["/uix/", "/"],
])("after a sign-in with return_to=%s comes %s", (wanted, path) => {
  expect(returnPath(search(wanted), "/team/ci/ui")).toBe(path);
});

const sender = (more: Partial<NonNullable<Session["sender"]>>): Session => ({
  needs_sign_in: true,
  problem: null,
  issuers: [],
  sender: {
    name: "ada",
    role: "developer",
    scopes: ["jobs:read", "jobs:write"],
    projects: null,
    memberships: {},
    scopes_in: {},
    by: "session",
    expires: null,
    key: null,
    ...more,
  },
});

test("a membership gives scopes in its project, and in no other", () => {
  const member = sender({ role: "member", scopes: ["keys:own"], scopes_in: { web: ["jobs:read", "jobs:write"] } });
  expect([
    may(member, "jobs:write", "web"),
    may(member, "jobs:write", "shop"),
    may(member, "jobs:write", null),
  ]).toEqual([true, false, false]);
  expect([maySomewhere(member, "jobs:write"), maySomewhere(member, "caches:write")]).toEqual([true, false]);
});

test("a scope for some projects is not one for everything", () => {
  expect(may(sender({}), "jobs:write", null)).toBe(true);
  expect(may(sender({}), "keys:admin", null)).toBe(false);
  const narrow = sender({ projects: ["web"] });
  expect([
    may(narrow, "jobs:write", null),
    may(narrow, "jobs:write", "web"),
    may(narrow, "jobs:write", "shop"),
  ]).toEqual([false, true, false]);
});

test("only a server with keys asks for a sign-in", () => {
  expect(mustSignIn({ needs_sign_in: true, sender: null, problem: null, issuers: [] })).toBe(true);
  expect(mustSignIn({ needs_sign_in: false, sender: null, problem: null, issuers: [] })).toBe(false);
  expect(mustSignIn(sender({}))).toBe(false);
});
