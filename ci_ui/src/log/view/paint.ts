import type { CSSProperties } from "react";
import { BOLD, CONCEALED, DIM, INVERSE, ITALIC, NO_COLOUR, STRIKE, type Style, UNDERLINE } from "../rows";
import { coloursOf } from "./colours";
import styles from "./row.module.css";

export interface Paint {
  className: string;
  style: CSSProperties | undefined;
}

const FLAGS: [number, string | undefined][] = [
  [BOLD, styles.bold],
  [DIM, styles.dim],
  [ITALIC, styles.italic],
  [CONCEALED, styles.concealed],
];
const UNPAINTED: Paint = { className: "", style: undefined };
const KEPT = 2_000;
const known = new Map<string, Paint>();

/** Return how text in a style is painted. The sixteen colours are classes; others are made readable one by one. */
export function paintOf(style: Style): Paint {
  if (style.foreground === NO_COLOUR && style.background === NO_COLOUR && style.flags === 0) return UNPAINTED;
  const key = `${style.foreground} ${style.background} ${style.flags}`;
  const paint = known.get(key) ?? painted(style);
  if (known.size >= KEPT) known.clear();
  known.set(key, paint);
  return paint;
}

function painted(style: Style): Paint {
  const classes = FLAGS.filter(([flag]) => style.flags & flag).map(([, name]) => name);
  const lines = [style.flags & UNDERLINE ? "underline" : "", style.flags & STRIKE ? "line-through" : ""]
    .join(" ")
    .trim();
  const colours = inked(style, classes);
  const css: CSSProperties = { ...colours, ...(lines && { textDecorationLine: lines }) };
  return { className: classes.join(" "), style: Object.keys(css).length > 0 ? css : undefined };
}

function inked(style: Style, classes: (string | undefined)[]): CSSProperties {
  let { foreground, background } = style;
  if (style.flags & INVERSE) {
    [foreground, background] = [background, foreground];
    if (background === NO_COLOUR) {
      classes.push(styles.inverse);
      return {};
    }
  }
  if (background === NO_COLOUR && foreground >= 0 && foreground < 16) {
    classes.push(styles[`colour${foreground}`]);
    return {};
  }
  return coloursOf(foreground, background);
}
