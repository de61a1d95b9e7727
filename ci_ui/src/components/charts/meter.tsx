import styles from "./meter.module.css";

interface Props {
  value: number;
  limit: number;
  /** Colour it as a warning once it is full. */
  warn?: boolean;
}

/** How much of a limit is used, as a bar. The text beside it has to say the same. */
export function Meter({ value, limit, warn = false }: Props) {
  const share = limit > 0 ? Math.min(1, value / limit) : 1;
  return (
    <svg className={styles.meter} viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
      <rect className={styles.track} width="100" height="4" />
      <rect className={styles.used} width={100 * share} height="4" data-full={(warn && share >= 1) || undefined} />
    </svg>
  );
}
