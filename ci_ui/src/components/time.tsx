import { commonText } from "#text/common";
import { useNow } from "../app/clock";

const SECOND = 1_000;
const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400 * SECOND],
  ["hour", 3_600 * SECOND],
  ["minute", 60 * SECOND],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

/** A time of the API (RFC 3339): how long ago in the text, and exactly, in the reader's zone, on hover. */
export function Time({ at }: { at: string }) {
  const now = useNow();
  const date = new Date(at);
  return (
    <time dateTime={at} title={exact.format(date)}>
      {sinceWords(date.getTime() - now)}
    </time>
  );
}

function sinceWords(difference: number): string {
  for (const [unit, size] of UNITS) {
    if (Math.abs(difference) >= size) return relative.format(Math.round(difference / size), unit);
  }
  return relative.format(Math.min(0, Math.round(difference / SECOND)), "second");
}

/** The time between two times of the API. Without an end it grows each second. */
export function Duration({ from, to }: { from: string; to: string | null }) {
  return to === null ? <Growing from={from} /> : durationWords(Date.parse(to) - Date.parse(from));
}

function Growing({ from }: { from: string }) {
  const seconds = Math.max(0, Math.floor((useNow() - Date.parse(from)) / SECOND));
  return <>{durationWords(seconds * SECOND)}</>;
}

/** Return a duration in milliseconds in words, such as `4.2 s` or `3 min 10 s`. */
export function durationWords(milliseconds: number): string {
  const seconds = milliseconds / SECOND;
  if (seconds < 10) return commonText.seconds(seconds.toFixed(Number.isInteger(seconds) ? 0 : 1));
  if (seconds < 60) return commonText.seconds(seconds.toFixed(0));
  const whole = Math.round(seconds);
  if (whole < 3_600) return commonText.minutes(Math.floor(whole / 60), whole % 60);
  return commonText.hours(Math.floor(whole / 3_600), Math.floor((whole % 3_600) / 60));
}
