import { describe, expect, it } from "vitest";
import { TRUE_COLOUR } from "../rows";
import { Arrangement, type Section } from "./arrangement";
import { contrast, readable, rgbOf } from "./colours";
import { Scale, TALLEST } from "./scale";
import { hashOfRange, rangeOfHash } from "./target";

describe("the scroll bar", () => {
  it("is exact as long as the browser can have an element of that height", () => {
    const scale = new Scale(800_000 * 18, 600);
    expect([scale.isExact, scale.height, scale.moved(0, 0, 99_999)]).toEqual([true, 14_400_000, 99_999]);
  });

  it("moves the rows by as many pixels as a wheel does, and reaches both ends", () => {
    const scale = new Scale(10_000_000 * 18, 600);
    expect(scale.height).toBe(TALLEST);
    const middle = scale.fromBar(7_000_000);
    expect(scale.moved(middle, 7_000_000, 7_000_100)).toBe(middle + 100);
    expect(scale.moved(middle, 7_000_000, 0)).toBe(0);
    expect(scale.moved(middle, 7_000_000, TALLEST - 600)).toBe(180_000_000 - 600);
    expect(scale.moved(50, 100, 0)).toBe(0);
    expect(scale.fromBar(scale.toBar(123_456_789))).toBeCloseTo(123_456_789, 3);
  });
});

describe("folding", () => {
  const steps: Section[] = [
    { key: "a", first: 1, last: 3, hasHeader: true },
    { key: "empty", first: 4, last: 3, hasHeader: true },
    { key: "b", first: 4, last: 10, hasHeader: true },
    { key: "group", first: 5, last: 8, hasHeader: false },
  ];
  const shown = (folded: string[]) => {
    const arrangement = new Arrangement(10, steps, new Set(folded));
    return Array.from({ length: arrangement.count }, (_, place) => {
      const item = arrangement.at(place);
      return item.kind === "line" ? item.line : item.section.key;
    });
  };

  it.each([
    [[], ["a", 1, 2, 3, "empty", "b", 4, 5, 6, 7, 8, 9, 10]],
    [["a"], ["a", "empty", "b", 4, 5, 6, 7, 8, 9, 10]],
    [["group"], ["a", 1, 2, 3, "empty", "b", 4, 5, 9, 10]],
    [
      ["b", "group"],
      ["a", 1, 2, 3, "empty", "b"],
    ],
    [
      ["a", "empty", "b"],
      ["a", "empty", "b"],
    ],
  ] as [string[], unknown[]][])("of %j", (folded, expected) => {
    expect(shown(folded)).toEqual(expected);
  });

  it("knows where each line stands, and what stands for it", () => {
    const arrangement = new Arrangement(10, steps, new Set(["a"]));
    expect([1, 3, 4, 10].map((line) => arrangement.placeOf(line))).toEqual([0, 0, 3, 9]);
    expect([0, 7].map((line) => new Arrangement(0).placeOf(line))).toEqual([0, 6]);
  });
});

describe("links to lines", () => {
  it.each([
    ["#L14", { first: 14, last: 14 }],
    ["#L14-L27", { first: 14, last: 27 }],
    ["#L27-14", { first: 14, last: 27 }],
    ["#L0", null],
    ["#L1x", null],
    ["#x", null],
    ["", null],
  ])("%j", (hash, range) => {
    expect(rangeOfHash(hash)).toEqual(range);
    if (range) expect(rangeOfHash(hashOfRange(range))).toEqual(range);
  });
});

it("makes every colour readable on every background", () => {
  const colours = [
    0,
    1,
    15,
    16,
    21,
    226,
    231,
    232,
    244,
    255,
    TRUE_COLOUR,
    TRUE_COLOUR + 0xffffff,
    TRUE_COLOUR + 0x808080,
  ];
  for (const background of colours) {
    for (const foreground of colours) {
      const result = readable(rgbOf(foreground), rgbOf(background));
      expect(contrast(result, rgbOf(background))).toBeGreaterThanOrEqual(4.5);
    }
  }
  expect(readable([0, 0, 200], [255, 255, 255])).toEqual([0, 0, 200]);
});
