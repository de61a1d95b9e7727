import { type ComponentType, useEffect, useId, useRef, useState } from "react";
import { readAgain } from "../../api/reading";
import type { EditorProps, Language } from "../editor";
import styles from "./fields.module.css";

interface Props {
  label: string;
  value: string;
  change: (value: string) => void;
  language: Language;
  rows: number;
  hint?: string | undefined;
  wrong?: string | undefined;
  required?: boolean;
  disabled?: boolean;
}

let loaded: ComponentType<EditorProps> | null = null;

/** A labelled field for text with a syntax. It is a plain one until the editor is there, and where it cannot be had. */
export function CodeField(props: Props) {
  const { label, value, change, language, rows, hint, wrong, required = false, disabled = false } = props;
  const id = useId();
  const plain = useRef<HTMLTextAreaElement>(null);
  const [Editor, setEditor] = useState(() => loaded);
  const [hadFocus, setHadFocus] = useState(false);
  useEffect(() => {
    let isCurrent = true;
    readAgain(() => import("../editor")).then(
      ({ default: editor }) => {
        loaded = editor;
        if (!isCurrent) return;
        setHadFocus(plain.current !== null && document.activeElement === plain.current);
        setEditor(() => editor);
      },
      () => {},
    );
    return () => {
      isCurrent = false;
    };
  }, []);
  const about = wrong ?? hint;
  return (
    <div className={styles.field}>
      {Editor ? <span className={styles.label}>{label}</span> : <label htmlFor={id}>{label}</label>}
      {Editor ? (
        <Editor
          {...{ label, value, change, language, rows }}
          description={about}
          isWrong={wrong !== undefined}
          isRequired={required}
          isReadOnly={disabled}
          focus={hadFocus}
        />
      ) : (
        <textarea
          ref={plain}
          {...{ id, value, rows, required, disabled }}
          spellCheck={false}
          aria-invalid={wrong !== undefined}
          aria-describedby={about ? `${id}-about` : undefined}
          onChange={(event) => change(event.target.value)}
        />
      )}
      {about && (
        <span id={`${id}-about`} className={wrong ? styles.wrong : "muted"}>
          {about}
        </span>
      )}
    </div>
  );
}
