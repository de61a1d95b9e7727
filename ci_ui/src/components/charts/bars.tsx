import styles from "./bars.module.css";

/** A row of a table as a bar of one or two parts, beside cells that say the same in numbers. */
export function Bars({ parts, most }: { parts: number[]; most: number }) {
  const scale = most > 0 ? 100 / most : 0;
  let end = 0;
  return (
    <svg className={styles.bars} viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      {parts.map((part, index) => {
        const start = end;
        end += part * scale;
        // biome-ignore lint/suspicious/noArrayIndexKey: a part has no other name than its place.
        return <rect key={index} x={start} y="1" width={part * scale} height="8" />;
      })}
    </svg>
  );
}
