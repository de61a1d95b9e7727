import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Unreachable } from "./problem";
import { readAgain } from "./reading";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Return what fails so many times before it returns "read", and counts its calls. */
function failing(times: number) {
  return vi.fn(async () => {
    if (times-- > 0) throw new TypeError("Failed to fetch");
    return "read";
  });
}

test("what fails twice is read by the third try", async () => {
  const read = failing(2);
  const result = readAgain(read);
  await vi.runAllTimersAsync();
  expect(await result).toBe("read");
  expect(read).toHaveBeenCalledTimes(3);
});

test("what fails three times is unreachable", async () => {
  const read = failing(3);
  const result = expect(readAgain(read)).rejects.toBeInstanceOf(Unreachable);
  await vi.runAllTimersAsync();
  await result;
  expect(read).toHaveBeenCalledTimes(3);
});

test("what is aborted is not tried again, and throws its own error", async () => {
  const read = failing(1);
  await expect(readAgain(read, AbortSignal.abort())).rejects.toBeInstanceOf(TypeError);
  expect(read).toHaveBeenCalledTimes(1);
});
