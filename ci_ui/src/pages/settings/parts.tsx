import { type ReactNode, useEffect, useId, useRef, useState } from "react";
import { commonText } from "#text/common";
import { settingsText } from "#text/settings";
import { useSession } from "../../app/session";
import fieldStyles from "../../components/fields/fields.module.css";
import { Refusal as FieldsRefusal, fieldsOf } from "../../components/fields/refusal";
import styles from "./settings.module.css";

/** Why something was not done. What was typed is still there. */
export function Refusal({ error }: { error: Error | null }) {
  if (!error) return null;
  return (
    <FieldsRefusal fields={fieldsOf(error)}>
      <strong>{settingsText.failed}.</strong> {error.message}
    </FieldsRefusal>
  );
}

interface ConfirmProps {
  title: string;
  children: ReactNode;
  action: string;
  error: Error | null;
  confirm: () => void;
  close: () => void;
}

/** Asks before something is done. It is open while it is there. */
export function Confirm({ title, children, action, error, confirm, close }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} className={styles.dialog} aria-labelledby={id} onClose={close}>
      <h2 id={id}>{title}</h2>
      <p>{children}</p>
      <Refusal error={error} />
      <div className={styles.buttons}>
        <button type="button" onClick={() => dialog.current?.close()}>
          {commonText.cancel}
        </button>
        <button type="button" className="primary" onClick={confirm}>
          {action}
        </button>
      </div>
    </dialog>
  );
}

/** A text to be copied. */
export function Copyable({ label, value }: { label: string; value: string }) {
  const [copied, setCopied] = useState(false);
  const id = useId();
  return (
    <div className={fieldStyles.field}>
      <label htmlFor={id}>{label}</label>
      <div className={styles.copyable}>
        <input id={id} readOnly value={value} onFocus={(event) => event.target.select()} />
        <button
          type="button"
          onClick={() =>
            void navigator.clipboard.writeText(value).then(
              () => setCopied(true),
              () => setCopied(false),
            )
          }
        >
          {copied ? commonText.copied : commonText.copy}
        </button>
      </div>
    </div>
  );
}

/** Return what to call the sender's rights. */
export function useRoleName(): string {
  const sender = useSession().data?.sender;
  return sender?.role ?? sender?.name ?? "";
}

/** Return the words that a text has, divided by what the expression matches. */
export function words(value: string, between: RegExp): string[] {
  return value
    .split(between)
    .map((each) => each.trim())
    .filter(Boolean);
}
