import { expect, test } from "vitest";
import type { DigestState } from "../protocol";
import { Digest } from "./digest";
import type { LogBytes } from "./log_bytes";

const BYTES = new TextEncoder().encode("abc");
const SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

test("a log whose end is told twice is compared once", async () => {
  const told: DigestState[] = [];
  const log = {
    extent: { lines: 1, bytes: BYTES.length, complete: true },
    async *pieces(start: number, end: number) {
      yield BYTES.subarray(start, end);
    },
  };
  const digest = new Digest(log as unknown as LogBytes, (state) => told.push(state));
  for (let times = 0; times < 2; times += 1) {
    digest.expect(SHA256);
    await digest.goOn();
  }
  expect(told).toEqual([{ kind: "same" }]);
});
