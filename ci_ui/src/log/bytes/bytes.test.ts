import { createHash, randomBytes } from "node:crypto";
import { expect, it } from "vitest";
import { CHUNK_BYTES, Chunks } from "./chunks";
import { LineIndex } from "./line_index";
import { Sha256 } from "./sha256";

const bytesOf = (text: string) => new TextEncoder().encode(text);

it("takes the digest that other programs take, whatever the pieces are", () => {
  for (const size of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1_000, 100_003]) {
    const bytes = randomBytes(size);
    for (const piece of [1, 7, 64, 1_000, 100_003]) {
      if (size > 1_000 * piece) continue;
      const hash = new Sha256();
      for (let at = 0; at < size; at += piece) hash.update(bytes.subarray(at, at + piece));
      expect(hash.digest()).toBe(createHash("sha256").update(bytes).digest("hex"));
    }
  }
});

it.each([
  ["", 0],
  ["a", 1],
  ["a\n", 1],
  ["a\nb", 2],
  ["\n\n\n", 3],
])("counts the lines of %j", (text, lines) => {
  const index = new LineIndex();
  for (const byte of bytesOf(text)) index.append(Uint8Array.of(byte));
  expect(index.lines).toBe(lines);
});

it("goes on from the index of the server as if it had read all", () => {
  const lines = Array.from({ length: 3_500 }, (_, number) => `line ${number}\n`);
  const bytes = bytesOf(lines.join(""));
  const whole = new LineIndex();
  whole.append(bytes);
  const offsets = [0, 1, 2, 3].map((thousand) => whole.ofThousand(thousand));
  const resumed = new LineIndex(offsets);
  resumed.append(bytes.subarray(offsets[3]));
  expect([resumed.lines, resumed.size]).toEqual([3_500, bytes.length]);
  expect(resumed.lastThousand(3)).toEqual(whole.lastThousand(3));
  expect([0, 1, 2].map((thousand) => resumed.ofThousand(thousand))).toEqual(offsets.slice(0, 3));
  const inSecond = whole.ofThousand(2) - 1;
  expect([whole.thousandAt(inSecond), whole.thousandAt(inSecond + 1), whole.thousandAt(0)]).toEqual([1, 2, 0]);
});

it("reads each chunk once, and not at all what has arrived by itself", async () => {
  const all = randomBytes(3 * CHUNK_BYTES);
  const read: [number, number][] = [];
  const chunks = new Chunks(async (start, end) => {
    read.push([start, end]);
    return all.subarray(start, end);
  });
  chunks.put(2 * CHUNK_BYTES, all.subarray(2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 10));
  chunks.put(2 * CHUNK_BYTES + 10, all.subarray(2 * CHUNK_BYTES + 10, 2 * CHUNK_BYTES + 20));
  const part = await chunks.read(CHUNK_BYTES - 5, 2 * CHUNK_BYTES + 15);
  expect(Buffer.from(part).equals(all.subarray(CHUNK_BYTES - 5, 2 * CHUNK_BYTES + 15))).toBe(true);
  await Promise.all([chunks.read(10, 20), chunks.read(CHUNK_BYTES, CHUNK_BYTES + 1)]);
  expect(read).toEqual([
    [0, CHUNK_BYTES],
    [CHUNK_BYTES, 2 * CHUNK_BYTES],
  ]);
});

it("forgets the chunks that were used least lately", async () => {
  let read = 0;
  const chunks = new Chunks(async (start, end) => {
    read += 1;
    return new Uint8Array(end - start);
  });
  for (let number = 0; number < 200; number += 1) await chunks.read(number * CHUNK_BYTES, number * CHUNK_BYTES + 1);
  await chunks.read(199 * CHUNK_BYTES, 199 * CHUNK_BYTES + 9);
  await chunks.read(0, 1);
  expect(read).toBe(201);
});
