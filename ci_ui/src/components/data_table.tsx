import type { ReactNode } from "react";
import styles from "./data_table.module.css";
import { Wide } from "./wide";

export interface Column<Row> {
  /** Its heading; null where what is in it needs none, such as buttons. */
  name: string | null;
  /** `name` may be long and is broken anywhere, `once` is never broken, `words` is a sentence, `bars` a drawing. */
  shape?: "name" | "once" | "words" | "bars";
  cell: (row: Row) => ReactNode;
}

interface Props<Row> {
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string;
}

/** A table with a row for each thing. It scrolls by itself where it is wider than the window. */
export function DataTable<Row>({ label, columns, rows, keyOf }: Props<Row>) {
  return (
    <Wide label={label}>
      <table>
        <thead>
          <tr>
            {columns.map(({ name, shape }, index) =>
              name === null ? (
                // biome-ignore lint/suspicious/noArrayIndexKey: columns have no identity but their order
                <td key={index} className={shape && styles[shape]} />
              ) : (
                <th key={name} scope="col">
                  {name}
                </th>
              ),
            )}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)}>
              {columns.map(({ name, shape, cell }, index) => (
                <td key={name ?? index} className={shape && styles[shape]}>
                  {cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}
