import { expect, test } from "vitest";
import { durationWords } from "./time";

test.each([
  [0, "0 s"],
  [4_230, "4.2 s"],
  [59_400, "59 s"],
  [190_000, "3 min 10 s"],
  [7_260_000, "2 h 1 min"],
])("%d ms are %s", (milliseconds, words) => {
  expect(durationWords(milliseconds)).toBe(words);
});
