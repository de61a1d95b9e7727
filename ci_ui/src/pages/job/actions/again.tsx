import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useLocation } from "wouter";
import { againText } from "#text/again";
import { commonText } from "#text/common";
import { api, unwrap } from "../../../api/client";
import { bytesWords } from "../../../components/bytes";
import { Dialog } from "../../../components/dialog";
import { CodeField } from "../../../components/fields/code_field";
import { Field } from "../../../components/fields/field";
import { fieldsOf, Refusal } from "../../../components/fields/refusal";
import type { Job } from "../../../live";
import styles from "./again.module.css";
import { changesOf, type Form, formOf, maskedNames, type Wrong } from "./changes";
import { SpecField, useSpecText } from "./spec_field";

const WAYS = ["fields", "text"] as const;

/** Runs a job again with changes. What is typed stays until a job is made of it or the dialog is closed. */
export default function AgainDialog({ job, onClose }: { job: Job; onClose: () => void }) {
  const [, navigate] = useLocation();
  const [way, setWay] = useState<(typeof WAYS)[number]>("fields");
  const [before] = useState(() => formOf(job));
  const [form, setForm] = useState(before);
  const [wrong, setWrong] = useState<Wrong>({});
  const spec = useSpecText(job, way === "text");
  const make = useMutation({
    mutationFn: (changes: Record<string, unknown>) =>
      unwrap(api.POST("/jobs/{job_id}/retry", { params: { path: { job_id: job.job_id } }, body: changes as never })),
    onSuccess: (made) => {
      onClose();
      navigate(`/jobs/${made.job_id}`);
    },
  });
  const send = (event: FormEvent) => {
    event.preventDefault();
    if (way === "text") {
      const changes = spec.changes();
      if (changes) make.mutate(changes);
      return;
    }
    const found = changesOf(before, form);
    setWrong(found.wrong);
    if (!Object.keys(found.wrong).length) make.mutate(found.changes);
  };
  const words = againText;
  return (
    <Dialog title={words.title} onClose={onClose}>
      <form className={styles.form} onSubmit={send}>
        <p className="muted">{filesOf(job)}</p>
        <fieldset className={styles.ways}>
          <legend className="hidden">{words.waysLabel}</legend>
          {WAYS.map((each) => (
            <label key={each}>
              <input type="radio" name="way" checked={way === each} onChange={() => setWay(each)} /> {words.ways[each]}
            </label>
          ))}
        </fieldset>
        {way === "text" ? <SpecField spec={spec} /> : <Fields {...{ job, before, form, setForm, wrong }} />}
        {make.error && <Refusal fields={fieldsOf(make.error)}>{make.error.message}</Refusal>}
        <p className="actions">
          <button type="submit" className="primary" disabled={make.isPending}>
            {words.run}
          </button>
          <button type="button" onClick={onClose}>
            {commonText.close}
          </button>
        </p>
      </form>
    </Dialog>
  );
}

interface FieldsProps {
  job: Job;
  before: Form;
  form: Form;
  setForm: (form: Form) => void;
  wrong: Wrong;
}

function Fields({ job, before, form, setForm, wrong }: FieldsProps) {
  const field = (name: keyof Form) => ({
    value: String(form[name]),
    wrong: wrong[name],
    change: (value: string) => setForm({ ...form, [name]: value }),
  });
  const words = againText;
  return (
    <>
      {form.steps || before.steps ? (
        <CodeField label={words.steps} hint={words.stepsHint} rows={6} language="json" {...field("steps")} />
      ) : (
        <CodeField label={words.command} hint={words.commandHint} rows={3} language="shell" {...field("command")} />
      )}
      <Field label={words.image} {...field("image")} />
      <Field label={words.env} hint={words.envHint(maskedNames(job))} rows={3} {...field("env")} />
      <Field label={words.labels} hint={words.labelsHint} rows={2} {...field("labels")} />
      <div className={styles.row}>
        <Field label={words.project} {...field("project")} />
        <Field label={words.priority} {...field("priority")} />
        <Field label={words.timeout} hint={words.timeoutHint} {...field("timeout")} />
        <Field label={words.memory} hint={words.memoryHint} {...field("memory")} />
        <Field label={words.cpus} {...field("cpus")} />
      </div>
      {job.environment && (
        <label className="check">
          <input
            type="checkbox"
            checked={form.isFresh}
            onChange={(event) => setForm({ ...form, isFresh: event.target.checked })}
          />
          {words.fresh}
        </label>
      )}
    </>
  );
}

function filesOf(job: Job): string {
  const upload = job.payload.upload as { filename?: string; size?: number } | undefined;
  if (typeof upload?.size !== "number") return againText.noFiles;
  return againText.files(upload.filename ?? againText.theUpload, bytesWords(upload.size));
}
