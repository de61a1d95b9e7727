import { describe, expect, it } from "vitest";
import { BOLD, INVERSE, NO_COLOUR, PLAIN, TRUE_COLOUR } from "../rows";
import { plainText, scanLine, styleAfter } from "./scanner";

const ESC = "\x1b";
const runs = (line: string) => scanLine(line, PLAIN).runs;

describe("colours", () => {
  it.each([
    ["31", 1, NO_COLOUR],
    ["97", 15, NO_COLOUR],
    ["44", NO_COLOUR, 4],
    ["103", NO_COLOUR, 11],
    ["38;5;208", 208, NO_COLOUR],
    ["38:5:208", 208, NO_COLOUR],
    ["38;2;1;2;3", TRUE_COLOUR + 0x010203, NO_COLOUR],
    ["38:2::1:2:3", TRUE_COLOUR + 0x010203, NO_COLOUR],
    ["38:2:1:2:3", TRUE_COLOUR + 0x010203, NO_COLOUR],
    ["48:2::255:0:9;31", 1, TRUE_COLOUR + 0xff0009],
    ["31;39", NO_COLOUR, NO_COLOUR],
    ["38;5;999;31", 1, NO_COLOUR],
  ])("%s", (parameters, foreground, background) => {
    expect(runs(`${ESC}[${parameters}mx`)[0]?.style).toMatchObject({ foreground, background });
  });

  it("end where they are reset, and go on in the next line where they are not", () => {
    expect(runs(`a${ESC}[1;7mb${ESC}[22mc${ESC}[md`).map(({ text, style }) => [text, style.flags])).toEqual([
      ["a", 0],
      ["b", BOLD | INVERSE],
      ["c", INVERSE],
      ["d", 0],
    ]);
    const { style } = scanLine(`${ESC}[32mgreen`, PLAIN);
    expect(scanLine("still", style).runs[0]?.style.foreground).toBe(2);
    expect(styleAfter(`x${ESC}[32m\n\ny`, PLAIN).foreground).toBe(2);
  });
});

describe("what overwrites a line", () => {
  it.each([
    ["10%\r50%\r100%", "100%"],
    ["a long text\rshort", "shortg text"],
    [`a long text\r${ESC}[Kshort`, "short"],
    [`abc${ESC}[2Kd`, "   d"],
    [`abcdef${ESC}[3D${ESC}[1K`, "    ef"],
    ["ab\b\bX", "Xb"],
    [`ab${ESC}[5Gc`, "ab  c"],
    ["with CRLF\r", "with CRLF"],
  ])("%j shows %j", (line, shown) => {
    expect(plainText(line)).toBe(shown);
  });

  it("keeps the colours of what remains", () => {
    expect(runs(`${ESC}[31mred${ESC}[0m\rX`)).toMatchObject([
      { text: "X", style: { foreground: NO_COLOUR } },
      { text: "ed", style: { foreground: 1 } },
    ]);
  });
});

describe("links", () => {
  const link = (url: string) => `${ESC}]8;;${url}${ESC}\\text${ESC}]8;;\x07 after`;

  it("are those of http and https", () => {
    expect(runs(link("https://example.com/a?b=1"))).toMatchObject([
      { text: "text", style: { link: "https://example.com/a?b=1" } },
      { text: " after", style: { link: "" } },
    ]);
  });

  it.each(["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//host", "https://", " https://a", ""])(
    "are not %j, whose text remains",
    (url) => {
      expect(runs(link(url))).toEqual([{ text: "text after", style: PLAIN }]);
    },
  );
});

it.each([
  [`${ESC}[2J${ESC}[H${ESC}[?25lshown`, "shown"],
  [`${ESC}]0;title\x07shown`, "shown"],
  [`${ESC}P+q544e${ESC}\\shown`, "shown"],
  [`${ESC}(Bshown${ESC}`, "shown"],
  [`shown${ESC}[31`, "shown"],
  ["\x00\x07sh\x7fown\x9b", "shown"],
  ["a\tb  ", "a\tb  "],
])("leaves out what shows nothing: %j", (line, shown) => {
  expect(plainText(line)).toBe(shown);
});

it("takes time in proportion to a line's length", () => {
  const hostile = [
    `${ESC}]`.repeat(200_000),
    `${ESC}[`.repeat(200_000),
    `${ESC}P\\`.repeat(100_000),
    "\r".repeat(500_000),
  ];
  const before = performance.now();
  for (const line of hostile) scanLine(line, PLAIN);
  expect(performance.now() - before).toBeLessThan(5_000);
});
