import type { ReactNode } from "react";
import styles from "./tiles.module.css";

/** Numbers that are seen at a glance. */
export function Tiles({ children }: { children: ReactNode }) {
  return <dl className={styles.tiles}>{children}</dl>;
}

/** One of them: a name, and one or more `dd`, of which the first is the number. */
export function Tile({ name, warning = false, children }: { name: string; warning?: boolean; children: ReactNode }) {
  return (
    <div className={styles.tile} data-warning={warning || undefined}>
      <dt>{name}</dt>
      {children}
    </div>
  );
}
