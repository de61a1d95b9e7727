import { expect, test, vi } from "vitest";
import { LineTimes, type ToldTimes } from "./line_times";

const at = (second: number) => new Date(second * 1_000).toISOString();
const places = [
  { line: 7, offset: 60 },
  { line: 8, offset: 70 },
  { line: 9, offset: 95 },
];

function started(answers: ToldTimes[], mayGrow = false) {
  const asked: [number, number][] = [];
  const changed = vi.fn();
  const times = new LineTimes(
    async (start, end) => {
      asked.push([start, end]);
      return answers[Math.min(asked.length, answers.length) - 1] as ToldTimes;
    },
    () => mayGrow,
    changed,
  );
  return { times, asked, changed, seconds: () => places.map(({ line }) => (times.of(line) ?? Number.NaN) / 1_000) };
}

test("a line has the time of its first byte, and is asked for once", async () => {
  const told = { end: 96, times: [50, 70, 80].map((offset, index) => ({ offset, time: at(index + 1) })) };
  const { times, asked, changed, seconds } = started([told]);
  times.want(places);
  await vi.waitFor(() => expect(changed).toHaveBeenCalled());
  expect(seconds()).toEqual([1, 2, 3]);
  times.want(places);
  expect(asked).toEqual([[60, 96]]);
});

test("an answer with a part is followed by a question about the rest", async () => {
  const { times, asked, seconds } = started([
    { end: 80, times: [{ offset: 0, time: at(1) }] },
    { end: 96, times: [{ offset: 90, time: at(4) }] },
  ]);
  times.want(places);
  await vi.waitFor(() => expect(seconds()).toEqual([1, 1, 4]));
  expect(asked).toEqual([
    [60, 96],
    [95, 96],
  ]);
});

test("times that no one noted are not asked for again, and those that will be noted are", async () => {
  const nothing = { end: 60, times: [] };
  const over = started([nothing]);
  over.times.want(places);
  await vi.waitFor(() => expect(over.changed).toHaveBeenCalled());
  over.times.want(places);
  expect(over.asked).toHaveLength(1);
  const growing = started([nothing, { end: 96, times: [{ offset: 0, time: at(5) }] }], true);
  growing.times.want(places);
  await vi.waitFor(() => expect(growing.seconds()).toEqual([5, 5, 5]), 3_000);
});
