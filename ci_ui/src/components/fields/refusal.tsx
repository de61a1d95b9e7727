import type { ReactNode } from "react";
import { Problem } from "../../api/problem";
import styles from "./fields.module.css";

interface FieldProblem {
  path: string;
  message: string;
}

/** Says why something was not done, or would not be. What was typed is still there. */
export function Refusal({ children, fields }: { children: ReactNode; fields: readonly FieldProblem[] }) {
  return (
    <div role="alert" className={styles.refusal}>
      {children}
      {fields.length > 0 && (
        <ul>
          {fields.map(({ path, message }) => (
            <li key={path + message}>
              <code>{path}</code> {message}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** Return which fields of a request an error is about. */
export function fieldsOf(error: Error): readonly FieldProblem[] {
  return error instanceof Problem ? error.fields : [];
}
