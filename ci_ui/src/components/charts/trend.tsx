import type { ReactNode } from "react";
import { Link } from "wouter";
import { chartsText } from "#text/charts";
import { type Placed, type Point, placed, placesFor, rangeOf } from "./points";
import styles from "./trend.module.css";

const HEIGHT = 100;
const SMALLEST = 2;

interface Props {
  /** The oldest first. */
  points: Point[];
  /** Returns a value as the axis shows it. */
  format: (value: number) => string;
}

/**
 * A bar for each job: filled if it is good, else hollow, so that no colour has to be seen. It is for the eye and the
 * mouse; a table beside it has to have the same numbers and links.
 */
export function BarTrend({ points, format }: Props) {
  const highest = rangeOf(points)?.[1] ?? 0;
  return (
    <figure className={styles.chart} aria-hidden="true">
      <Axis high={format(highest)} low={format(0)} />
      <Plot places={placesFor(points.length)}>
        {placed(points, 0, highest).map((point) => (
          <Area key={point.id} point={point}>
            <Bar point={point} />
          </Area>
        ))}
      </Plot>
      <figcaption className={styles.legend}>
        <span>{chartsText.oldest}</span>
        <span>
          <span className={styles.key} />
          {chartsText.good}
        </span>
        <span>
          <span className={styles.key} data-bad />
          {chartsText.bad}
        </span>
        <span>{chartsText.newest}</span>
      </figcaption>
    </figure>
  );
}

/** A line through what was measured, from the lowest to the highest value. The same holds as for `BarTrend`. */
export function LineTrend({ points, format }: Props) {
  const range = rangeOf(points);
  if (!range) return null;
  const known = placed(points, ...range).filter((point) => point.value !== null);
  return (
    <figure className={styles.chart} aria-hidden="true">
      <Axis high={format(range[1])} low={format(range[0])} />
      <Plot places={placesFor(points.length)}>
        <polyline className={styles.line} points={known.map((point) => `${middle(point)},${top(point)}`).join(" ")} />
        {known.map((point) => (
          <Area key={point.id} point={point}>
            <path className={styles.dot} d={`M${middle(point)} ${top(point)}h0`} />
          </Area>
        ))}
      </Plot>
      <figcaption className={styles.legend}>
        <span>{chartsText.oldest}</span>
        <span>{chartsText.newest}</span>
      </figcaption>
    </figure>
  );
}

/** Bars as small as a word, for a cell of a table. */
export function Sparkline({ points }: { points: Point[] }) {
  return (
    <svg
      className={styles.spark}
      viewBox={`0 0 ${placesFor(points.length)} ${HEIGHT}`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      {placed(points, 0, rangeOf(points)?.[1] ?? 0).map((point) => (
        <Bar key={point.id} point={point} />
      ))}
    </svg>
  );
}

function Axis({ high, low }: { high: string; low: string }) {
  return (
    <div className={styles.axis}>
      <span>{high}</span>
      <span>{low}</span>
    </div>
  );
}

function Plot({ places, children }: { places: number; children: ReactNode }) {
  return (
    <svg className={styles.plot} viewBox={`0 -4 ${places} ${HEIGHT + 8}`} preserveAspectRatio="none">
      <title>{chartsText.jobs}</title>
      {children}
    </svg>
  );
}

/** The place of a point, from top to bottom, as a link. */
function Area({ point, children }: { point: Placed; children: ReactNode }) {
  return (
    <Link href={point.href} tabIndex={-1}>
      <title>{point.label}</title>
      {children}
      <rect className={styles.area} x={point.x} y="0" width="1" height={HEIGHT} />
    </Link>
  );
}

function Bar({ point }: { point: Placed }) {
  const height = Math.max(SMALLEST, point.height * HEIGHT);
  return (
    <rect
      className={styles.bar}
      data-bad={!point.good || undefined}
      data-none={(point.good && point.value === null) || undefined}
      x={point.x + 0.15}
      width="0.7"
      y={HEIGHT - height}
      height={height}
    />
  );
}

function middle(point: Placed): number {
  return point.x + 0.5;
}

function top(point: Placed): number {
  return HEIGHT - point.height * HEIGHT;
}
