import { expect, test } from "vitest";
import { Held, type Position } from "./held";

const at = (place: number): Position => ({ place, offset: 0 });
const reads =
  (...places: number[]) =>
  (position: Position) =>
    places.includes(position.place);

test("a position whose lines are there is shown itself", () => {
  expect(new Held().instead(at(5), reads(5), 0)).toBeNull();
});

test("while the view leaps, the latest position whose lines have arrived is shown", () => {
  const held = new Held();
  held.instead(at(0), reads(0), 0);
  expect(held.instead(at(100), reads(0), 16)).toEqual(at(0));
  expect(held.instead(at(200), reads(0), 32)).toEqual(at(0));
  expect(held.instead(at(300), reads(0, 100), 48)).toEqual(at(100));
  expect(held.instead(at(300), reads(0, 100, 300), 64)).toBeNull();
});

test("what is shown is not held for longer than a moment", () => {
  const held = new Held();
  held.instead(at(0), reads(0), 0);
  expect(held.instead(at(100), reads(0), 399)).toEqual(at(0));
  expect(held.instead(at(200), reads(0), 401)).toBeNull();
});

test("nothing is held before anything was read", () => {
  expect(new Held().instead(at(5), reads(), 0)).toBeNull();
});
