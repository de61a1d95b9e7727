import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { auditText } from "#text/audit";
import { api, unwrap } from "../../../api/client";
import { Field } from "../../../components/fields/field";
import { fieldsOf, Refusal } from "../../../components/fields/refusal";
import { Copyable } from "../parts";
import styles from "./audit.module.css";

/** Has the server check that no entry was altered, removed or added. */
export function Verify() {
  const [mark, setMark] = useState("");
  const walk = useMutation({
    mutationFn: () => unwrap(api.GET("/audit/verify", { params: { query: mark.trim() ? { mark: mark.trim() } : {} } })),
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    if (!walk.isPending) walk.mutate();
  }
  const { data: found, error } = walk;
  return (
    <form onSubmit={submit} className={styles.part} aria-labelledby="verify-audit">
      <h2 id="verify-audit">{auditText.verify}</h2>
      <p className="muted">{auditText.verifyText}</p>
      <Field label={auditText.mark} hint={auditText.markHint} value={mark} change={setMark} />
      {error && (
        <Refusal fields={fieldsOf(error)}>
          <strong>{auditText.failed}.</strong> {error.message}
        </Refusal>
      )}
      <p role="status">
        {walk.isPending ? auditText.checking : found && !found.broken && auditText.fits(found.entries)}
      </p>
      {found?.broken && <Refusal fields={[]}>{auditText.broken(found.broken.number, found.broken.reason)}</Refusal>}
      {found && !walk.isPending && <Copyable label={auditText.last} value={found.last} />}
      <button type="submit" aria-disabled={walk.isPending}>
        {auditText.verify}
      </button>
    </form>
  );
}
