import { type Colour, NO_COLOUR, TRUE_COLOUR } from "../rows";

type Rgb = readonly [number, number, number];

/** The backgrounds of the two themes, as tokens.css has them. */
const LIGHT: Rgb = [0xff, 0xff, 0xff];
const DARK: Rgb = [0x14, 0x17, 0x1c];
const BLACK: Rgb = [0, 0, 0];
const LEAST_CONTRAST = 4.5;

const SIXTEEN: readonly Rgb[] = [
  [0x1c, 0x1f, 0x24],
  [0xc5, 0x24, 0x2e],
  [0x1d, 0x7a, 0x36],
  [0x9a, 0x6a, 0x00],
  [0x1f, 0x5f, 0xd0],
  [0x92, 0x31, 0xa6],
  [0x0d, 0x75, 0x83],
  [0xd0, 0xd4, 0xda],
  [0x5c, 0x65, 0x72],
  [0xf0, 0x6a, 0x6f],
  [0x5f, 0xd0, 0x7c],
  [0xe9, 0xc4, 0x53],
  [0x7c, 0xb0, 0xff],
  [0xe7, 0x9c, 0xf0],
  [0x63, 0xd3, 0xde],
  [0xff, 0xff, 0xff],
];

/** Return red, green and blue of a colour that is not NO_COLOUR. */
export function rgbOf(colour: Colour): Rgb {
  if (colour >= TRUE_COLOUR) return [(colour >> 16) & 255, (colour >> 8) & 255, colour & 255];
  if (colour < 16) return SIXTEEN[colour] ?? BLACK;
  if (colour >= 232) {
    const grey = 8 + 10 * (colour - 232);
    return [grey, grey, grey];
  }
  const cube = colour - 16;
  const level = (value: number) => (value === 0 ? 0 : 55 + 40 * value);
  return [level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)];
}

/** Return the contrast between two colours, from 1 to 21 (WCAG 2.2). */
export function contrast(one: Rgb, other: Rgb): number {
  const [lighter, darker] = [luminance(one), luminance(other)].sort((a, b) => b - a) as [number, number];
  return (lighter + 0.05) / (darker + 0.05);
}

function luminance(colour: Rgb): number {
  const [red, green, blue] = colour.map((part) => {
    const value = part / 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** Return the colour, moved towards black or white until it can be read on the background. */
export function readable(colour: Rgb, background: Rgb): Rgb {
  const goal = luminance(background) > 0.18 ? BLACK : LIGHT;
  for (let step = 0; step < 10; step += 1) {
    const mixed = colour.map((part, index) => Math.round(part + ((goal[index] ?? 0) - part) * (step / 10)));
    if (contrast(mixed as unknown as Rgb, background) >= LEAST_CONTRAST) return mixed as unknown as Rgb;
  }
  return goal;
}

const css = (colour: Rgb) => `rgb(${colour.join(" ")})`;

/** Return CSS colours of a text, readable on its background; what is NO_COLOUR is left to the theme. */
export function coloursOf(foreground: Colour, background: Colour): { color?: string; backgroundColor?: string } {
  if (background === NO_COLOUR) {
    if (foreground === NO_COLOUR) return {};
    const colour = rgbOf(foreground);
    return { color: `light-dark(${css(readable(colour, LIGHT))}, ${css(readable(colour, DARK))})` };
  }
  const paper = rgbOf(background);
  const ink = foreground === NO_COLOUR ? (luminance(paper) > 0.18 ? BLACK : LIGHT) : rgbOf(foreground);
  return { color: css(readable(ink, paper)), backgroundColor: css(paper) };
}
