import { expect, test } from "vitest";
import { asBytes, IgnoreFile, Rules } from "./ignore";
import cases from "./ignore_cases.json";

test("every case of the table ends as with the command's rules", () => {
  const encoder = new TextEncoder();
  const wrong = cases.filter(({ lines, path, directory, decided_by }) => {
    const file = new IgnoreFile(encoder.encode(lines.join("\n")));
    const rule = file.verdict(asBytes(path.slice(path.lastIndexOf("/") + 1)), asBytes(path), directory);
    return (rule ? (rule.number + 1) * (rule.leaveOut ? 1 : -1) : 0) !== decided_by;
  });
  expect(wrong).toEqual([]);
});

test("what is always left out comes back by its exact name alone", () => {
  const rules = (text: string) => {
    const ci = new IgnoreFile(new TextEncoder().encode(text), ".ciignore");
    return Rules.ofRoot({ git: null, ci }, null);
  };
  expect(rules("").leftOutBy(".git", true, false)).toEqual({ file: null, line: null, pattern: null });
  expect(rules("!*/").leftOutBy(".git", true, false)?.file).toBeNull();
  expect(rules("!.git/").leftOutBy(".git", true, false)).toBeNull();
  expect(rules("").leftOutBy("env", true, true)?.file).toBe("pyvenv.cfg");
  expect(rules("x\ndist/").leftOutBy("dist", true, false)).toEqual({ file: ".ciignore", line: 2, pattern: "dist/" });
});

test("a hostile pattern takes no longer than its length", () => {
  const file = new IgnoreFile(new TextEncoder().encode(`${"a*".repeat(40)}b`));
  const began = performance.now();
  expect(file.verdict("a".repeat(200), "a".repeat(200), false)).toBeUndefined();
  expect(performance.now() - began).toBeLessThan(20_000);
});
