import { expect, test } from "vitest";
import { nameOf } from "./job_name";

const job = (payload: Record<string, unknown>, labels = {}) => ({ payload, labels, type: "container" });

test("a job is called by its label, command, steps, upload or type, in this order", () => {
  expect(nameOf(job({ command: "make test" }, { name: "nightly" }))).toBe("nightly");
  expect(nameOf(job({ command: ["python", "-c", "print('a b')"] }))).toBe(`python -c 'print('\\''a b'\\'')'`);
  expect(nameOf(job({ steps: ["make", { name: "test", run: "x" }, { run: "echo\n 1" }] }))).toBe("make, test, echo 1");
  expect(nameOf(job({ upload: { filename: "shop.zip" } }))).toBe("shop.zip");
  expect(nameOf(job({ command: " \n" }))).toBe("container");
});

test("a very long name is cut", () => {
  expect(nameOf(job({ command: "x".repeat(10_000) }))).toHaveLength(301);
});
