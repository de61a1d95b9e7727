import { useId } from "react";
import styles from "./fields.module.css";

interface Props {
  label: string;
  value: string;
  change: (value: string) => void;
  hint?: string | undefined;
  /** What is wrong with the value, in place of the hint. */
  wrong?: string | undefined;
  type?: "text" | "password";
  /** How many lines are shown, if it takes more than one. */
  rows?: number | undefined;
  required?: boolean;
  disabled?: boolean;
}

/** A labelled field with a hint. */
export function Field(props: Props) {
  const { label, value, change, hint, wrong, type = "text", rows, required = false, disabled = false } = props;
  const id = useId();
  const about = wrong ?? hint;
  const common = {
    id,
    value,
    required,
    disabled,
    spellCheck: false,
    autoComplete: type === "password" ? "new-password" : "off",
    "aria-invalid": wrong !== undefined,
    "aria-describedby": about ? `${id}-about` : undefined,
  };
  return (
    <div className={styles.field}>
      <label htmlFor={id}>{label}</label>
      {rows ? (
        <textarea {...common} rows={rows} onChange={(event) => change(event.target.value)} />
      ) : (
        <input {...common} type={type} onChange={(event) => change(event.target.value)} />
      )}
      {about && (
        <span id={`${id}-about`} className={wrong ? styles.wrong : "muted"}>
          {about}
        </span>
      )}
    </div>
  );
}

/** A labelled choice. */
export function Choice<Value extends string>(props: {
  label: string;
  value: Value;
  values: readonly Value[];
  change: (value: Value) => void;
}) {
  const id = useId();
  return (
    <div className={styles.field}>
      <label htmlFor={id}>{props.label}</label>
      <select id={id} value={props.value} onChange={(event) => props.change(event.target.value as Value)}>
        {props.values.map((each) => (
          <option key={each}>{each}</option>
        ))}
      </select>
    </div>
  );
}
