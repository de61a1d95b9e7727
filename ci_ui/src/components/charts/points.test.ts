import { expect, test } from "vitest";
import { type Point, placed, rangeOf } from "./points";

function point(value: number | null): Point {
  return { id: `${value}`, href: "/", label: "", value, good: true };
}

test("few points are at the right end", () => {
  expect(placed([point(5), point(10), point(null)], 0, 10).map(({ x, height }) => [x, height])).toEqual([
    [27, 0.5],
    [28, 1],
    [29, 0],
  ]);
});

test("equal values fill the scale that they are", () => {
  expect(placed([point(7)], 7, 7)[0]?.height).toBe(1);
});

test("what was not measured has no part in the range", () => {
  expect(rangeOf([point(null), point(3), point(-1)])).toEqual([-1, 3]);
  expect(rangeOf([point(null)])).toBeNull();
});
