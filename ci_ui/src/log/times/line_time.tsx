import styles from "../view/row.module.css";

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

/** When a line was written, in the reader's zone, to a tenth of a second. It is made by a style, so that it is never copied. */
export function LineTime({ at }: { at: number | null }) {
  if (at === null) return <span className={styles.time} />;
  const date = new Date(at);
  return (
    <time
      className={styles.time}
      dateTime={date.toISOString()}
      title={exact.format(date)}
      data-time={clockWords(date)}
    />
  );
}

/** Return a time of day such as `08:05:09.4`. */
export function clockWords(date: Date): string {
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0"));
  return `${parts.join(":")}.${Math.floor(date.getMilliseconds() / 100)}`;
}
