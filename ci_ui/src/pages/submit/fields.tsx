import { submitText } from "#text/submit";
import { CodeField } from "../../components/fields/code_field";
import { Field } from "../../components/fields/field";
import { fieldsOf, Refusal } from "../../components/fields/refusal";
import type { Options, Wrong } from "./options";
import styles from "./submit.module.css";

type Change = (name: keyof Options, value: string) => void;

interface FieldProps {
  name: keyof Options;
  options: Options;
  change: Change;
  hint?: string;
  rows?: number;
  required?: boolean;
}

/** One field of the options. */
export function OptionField({ name, options, change, ...more }: FieldProps) {
  return <Field label={submitText[name]} value={options[name]} change={(value) => change(name, value)} {...more} />;
}

/** The command, which is shell text. */
export function CommandField({ options, change, rows }: { options: Options; change: Change; rows: number }) {
  return (
    <CodeField
      label={submitText.command}
      hint={submitText.commandHint}
      language="shell"
      rows={rows}
      value={options.command}
      change={(value) => change("command", value)}
    />
  );
}

/** The fields that every kind of job has. */
export function CommonFields({ options, change }: { options: Options; change: Change }) {
  return (
    <div className={styles.fields}>
      <OptionField name="project" options={options} change={change} />
      <OptionField name="timeout" options={options} change={change} hint={submitText.timeoutHint} />
      <OptionField name="labels" options={options} change={change} hint={submitText.labelsHint} rows={2} />
      <OptionField name="env" options={options} change={change} hint={submitText.envHint} rows={2} />
      <OptionField name="secrets" options={options} change={change} hint={submitText.secretsHint} />
    </div>
  );
}

/** What the server's schema would refuse. */
export function WrongFields({ wrong }: { wrong: Wrong[] }) {
  if (!wrong.length) return null;
  return <Refusal fields={wrong}>{submitText.wrongFields}</Refusal>;
}

/** Why a submission has failed. */
export function SubmitFailure({ error }: { error: Error }) {
  return (
    <Refusal fields={fieldsOf(error)}>
      <h2>{submitText.failed}</h2>
      <p>{error.message}</p>
      <p>{submitText.failedHint}</p>
    </Refusal>
  );
}
