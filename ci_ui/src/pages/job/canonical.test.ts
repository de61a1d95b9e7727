import { expect, test } from "vitest";
import { canonical } from "./canonical";

test("names are sorted by code points, at every depth, with nothing between the parts", () => {
  const value = { b: [1, 2.5, { z: null, a: "ü\n" }], a: true, "\u{1f600}": 1, "\uffee": 2 };
  expect(canonical(value)).toBe('{"a":true,"b":[1,2.5,{"a":"ü\\n","z":null}],"\uffee":2,"\u{1f600}":1}');
});
