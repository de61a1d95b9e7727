import { describe, expect, it } from "vitest";
import { Hits } from "./hits";
import { LineScan } from "./line_scan";
import { faultOf, type Query } from "./query";

const ESC = "\x1b";
const TEXT = `one error\ntwo\n${ESC}[31mErr${ESC}[0mor and error error\n\n10%\r100% done\nlast error`;

function found(text: string, query: Partial<Query>): { hits: [number, number][]; lines: number } {
  const hits: [number, number][] = [];
  const scan = new LineScan({ text: "", isExpression: false, matchesCase: false, ...query });
  const lines = scan.scan(text, 1, (line, matches) => hits.push([line, matches]));
  return { hits, lines };
}

describe("a search finds what is shown", () => {
  it.each([
    [
      { text: "error" },
      [
        [1, 1],
        [3, 3],
        [6, 1],
      ],
    ],
    [
      { text: "error", matchesCase: true },
      [
        [1, 1],
        [3, 2],
        [6, 1],
      ],
    ],
    [{ text: "[0mor" }, []],
    [{ text: "10%" }, []],
    [{ text: "%" }, [[5, 1]]],
    [
      { text: "^e\\w+|two$", isExpression: true },
      [
        [2, 1],
        [3, 1],
      ],
    ],
    [{ text: "r\\s+t", isExpression: true }, []],
    [{ text: "x*", isExpression: true }, []],
    [{ text: "a.b" }, []],
  ] as [Partial<Query>, [number, number][]][])("%j", (query, hits) => {
    expect(found(TEXT, query)).toEqual({ hits, lines: 6 });
  });

  it.each([
    ["", 0],
    ["\n", 1],
    ["a", 1],
    ["a\n", 1],
    ["a\n\n", 2],
  ])("and counts the lines of %j", (text, lines) => {
    expect(found(text, { text: "z" }).lines).toBe(lines);
    expect(found(text, { text: "z", isExpression: true }).lines).toBe(lines);
  });

  it("says why an expression is none", () => {
    expect(faultOf({ text: "(", isExpression: true, matchesCase: true })).toContain("Invalid regular expression");
    expect(faultOf({ text: "(", isExpression: false, matchesCase: true })).toBeNull();
  });
});

it("knows the hits before and after a line, and where they are in the log", () => {
  const hits = new Hits();
  for (let line = 10; line <= 20_000; line += 10) hits.add(Float64Array.of(line, line));
  expect([hits.firstFrom(1), hits.firstFrom(20), hits.firstFrom(21), hits.firstFrom(30_000)]).toEqual([0, 2, 4, 4_000]);
  expect([hits.withinLine(2), hits.withinLine(3)]).toEqual([0, 1]);
  expect(hits.marks(20_000)).toHaveLength(300);
  expect(hits.marks(40_000)).toHaveLength(150);
});
