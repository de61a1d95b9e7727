import { type FormEvent, useMemo, useState } from "react";
import { useLocation } from "wouter";
import { submitText } from "#text/submit";
import { api, unwrap } from "../../api/client";
import { CommandField, CommonFields, OptionField, SubmitFailure, WrongFields } from "./fields";
import { check, type Options, specOf, type Wrong } from "./options";
import styles from "./submit.module.css";

interface Props {
  options: Options;
  change: (name: keyof Options, value: string) => void;
}

/** Submits a command that runs in an image, without any files. */
export function CommandForm({ options, change }: Props) {
  const [, navigate] = useLocation();
  const [error, setError] = useState<Error | null>(null);
  const [wrong, setWrong] = useState<Wrong[]>([]);
  const [busy, setBusy] = useState(false);
  // Sent again after a failure, the same options make one job.
  // biome-ignore lint/correctness/useExhaustiveDependencies: other options are another job
  const key = useMemo(() => crypto.randomUUID(), [options]);

  async function submit(event: FormEvent) {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError(null);
    try {
      const spec = specOf(options);
      const found = await check(spec);
      setWrong(found);
      if (found.length) return;
      const job = await unwrap(
        api.POST("/jobs", {
          body: { type: "container", ...spec } as never,
          params: { header: { "Idempotency-Key": key } },
        }),
      );
      navigate(`/jobs/${job.job_id}`);
    } catch (failure) {
      setError(failure as Error);
    } finally {
      setBusy(false);
    }
  }

  return (
    <form onSubmit={(event) => void submit(event)} className={styles.form}>
      <div className={styles.fields}>
        <OptionField name="image" options={options} change={change} hint={submitText.imageHint} />
        <CommandField options={options} change={change} rows={3} />
      </div>
      <CommonFields options={options} change={change} />
      <WrongFields wrong={wrong} />
      {error && <SubmitFailure error={error} />}
      <button type="submit" className="primary" aria-disabled={busy}>
        {submitText.submit}
      </button>
    </form>
  );
}
