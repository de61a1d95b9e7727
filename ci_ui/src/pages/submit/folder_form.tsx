import { type DragEvent, type FormEvent, useEffect, useId, useRef, useState } from "react";
import { useLocation } from "wouter";
import { commonText } from "#text/common";
import { submitText } from "#text/submit";
import { bytesWords } from "../../components/bytes";
import { type Folder, folderOfDrop, folderOfFiles } from "../../packing/folder";
import { NotSendable, type Selection, select } from "../../packing/select";
import { CommandField, CommonFields, OptionField, SubmitFailure, WrongFields } from "./fields";
import { check, type Options, specOf, type Wrong } from "./options";
import { Selected } from "./selected";
import { pack, send } from "./sending";
import styles from "./submit.module.css";

interface Props {
  options: Options;
  change: (name: keyof Options, value: string) => void;
}

interface Progress {
  words: string;
  /** From 0 to 1; null if that is not known. */
  part: number | null;
}

/** Submits a folder, which is packed here by the rules of the command. */
export function FolderForm({ options, change }: Props) {
  const [, navigate] = useLocation();
  const id = useId();
  const [selection, setSelection] = useState<Selection | null>(null);
  const [progress, setProgress] = useState<Progress | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [wrong, setWrong] = useState<Wrong[]>([]);
  const [over, setOver] = useState(false);
  const running = useRef<AbortController | null>(null);
  /** What is packed, and the key of the submission: sent again after a failure, it makes one job. */
  const packed = useRef<{ archive: Blob; of: Selection; key: string; spec: string } | null>(null);
  useEffect(() => () => running.current?.abort(), []);

  function begin(): AbortSignal {
    running.current?.abort();
    running.current = new AbortController();
    setError(null);
    setWrong([]);
    return running.current.signal;
  }

  async function take(folder: Folder | null) {
    if (!folder) return setError(new Error(submitText.nothingDropped));
    const signal = begin();
    setSelection(null);
    packed.current = null;
    setProgress({ words: submitText.reading(0), part: null });
    try {
      const tell = (files: number) => setProgress({ words: submitText.reading(files), part: null });
      setSelection(await select(folder, tell, signal));
      setProgress(null);
    } catch (failure) {
      if (signal.aborted) return;
      setProgress(null);
      setError(
        failure instanceof NotSendable
          ? new Error(submitText.notSendable[failure.why](failure.path))
          : asError(failure),
      );
    }
  }

  async function submit(event: FormEvent) {
    event.preventDefault();
    if (!selection || progress) return;
    const signal = begin();
    try {
      const spec = specOf(options);
      const found = await check(spec);
      setWrong(found);
      if (found.length) return;
      const all = selection.bytes;
      const tell = (bytes: number) =>
        setProgress({ words: submitText.packing(bytesWords(bytes), bytesWords(all)), part: all ? bytes / all : 1 });
      tell(0);
      const archive =
        packed.current?.of === selection ? packed.current.archive : await pack(selection.members, tell, signal);
      const same = packed.current?.of === selection && packed.current.spec === JSON.stringify(spec);
      const key = same ? (packed.current?.key ?? crypto.randomUUID()) : crypto.randomUUID();
      packed.current = { archive, of: selection, key, spec: JSON.stringify(spec) };
      const job = await send(
        archive,
        selection.name,
        spec,
        key,
        (sent, size) => {
          const words = sent < size ? submitText.sending(bytesWords(sent), bytesWords(size)) : submitText.accepting;
          setProgress({ words, part: sent / size });
        },
        signal,
      );
      navigate(`/jobs/${job}`);
    } catch (failure) {
      setError(signal.aborted ? new Error(submitText.cancelled) : asError(failure));
    } finally {
      if (running.current?.signal === signal) setProgress(null);
    }
  }

  function drop(event: DragEvent) {
    event.preventDefault();
    setOver(false);
    void take(folderOfDrop(event.dataTransfer.items));
  }

  return (
    <form onSubmit={(event) => void submit(event)} className={styles.form}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: Dropping is a way besides the input, which the keyboard reaches. */}
      <div
        className={styles.drop}
        data-over={over}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={drop}
      >
        <p>{submitText.drop}</p>
        <label htmlFor={`${id}-folder`}>{selection ? submitText.chooseOther : submitText.choose}</label>
        <input
          id={`${id}-folder`}
          type="file"
          ref={(element) => element?.setAttribute("webkitdirectory", "")}
          onChange={(event) => {
            if (event.target.files?.length) void take(folderOfFiles(event.target.files));
          }}
        />
      </div>
      {selection && <Selected selection={selection} />}
      {selection && (
        <section aria-labelledby={`${id}-options`}>
          <h2 id={`${id}-options`}>{submitText.options}</h2>
          <p className="muted">{submitText.optionsHint}</p>
          <div className={styles.fields}>
            <OptionField name="image" options={options} change={change} hint={submitText.imageHint} />
            <CommandField options={options} change={change} rows={2} />
          </div>
          <CommonFields options={options} change={change} />
        </section>
      )}
      <WrongFields wrong={wrong} />
      {error && <SubmitFailure error={error} />}
      {progress && (
        <div className={styles.progress}>
          <progress aria-label={progress.words} {...(progress.part === null ? {} : { value: progress.part })} />
          <span role="status">{progress.words}</span>
          <button type="button" onClick={() => running.current?.abort()}>
            {commonText.cancel}
          </button>
        </div>
      )}
      {selection && !progress && (
        <button type="submit" className="primary">
          {error ? submitText.again : submitText.submit}
        </button>
      )}
    </form>
  );
}

function asError(failure: unknown): Error {
  return failure instanceof Error ? failure : new Error(commonText.brokenText);
}
