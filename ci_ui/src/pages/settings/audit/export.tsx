import { useMutation } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { auditText } from "#text/audit";
import { api, unwrap } from "../../../api/client";
import { nextCursor } from "../../../api/paging";
import { fieldsOf, Refusal } from "../../../components/fields/refusal";
import { saveFile } from "../../../components/save_file";
import styles from "./audit.module.css";
import type { queryOf } from "./query";

type Query = ReturnType<typeof queryOf>;

const PAGE = 1_000;

/** Saves all entries that match the filters as a file, in the order in which they were written. */
export function Export({ query }: { query: Query }) {
  const [gathered, setGathered] = useState(0);
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);
  const save = useMutation({
    mutationFn: async () => {
      stop.current = new AbortController();
      setGathered(0);
      const lines = await gather(query, stop.current.signal, setGathered);
      if (lines) saveFile(lines, "audit.jsonl");
      return lines !== null;
    },
  });
  return (
    <section className={styles.part} aria-labelledby="export-audit">
      <h2 id="export-audit">{auditText.export}</h2>
      <p className="muted">{auditText.exportText}</p>
      {save.error && (
        <Refusal fields={fieldsOf(save.error)}>
          <strong>{auditText.failed}.</strong> {save.error.message}
        </Refusal>
      )}
      <p role="status">{save.isPending ? auditText.exporting(gathered) : save.data && auditText.exported(gathered)}</p>
      {save.isPending ? (
        <button type="button" onClick={() => stop.current.abort()}>
          {auditText.stop}
        </button>
      ) : (
        <button type="button" onClick={() => save.mutate()}>
          {auditText.export}
        </button>
      )}
    </section>
  );
}

/** Return the lines of all pages; null if it was stopped. `onProgress` is told how many there are so far. */
async function gather(query: Query, signal: AbortSignal, onProgress: (n: number) => void): Promise<Blob | null> {
  const parts: string[] = [];
  let number = 0;
  for (let after: string | null = "0"; after !== null; ) {
    if (signal.aborted) return null;
    const answer = await api.GET("/audit", {
      params: { query: { ...query, limit: PAGE, after: Number(after) } },
      headers: { Accept: "application/jsonl" },
      parseAs: "text",
    });
    const lines = await unwrap(Promise.resolve(answer));
    parts.push(lines);
    number += lines.split("\n").length - 1;
    onProgress(number);
    after = nextCursor(answer.response, "after");
  }
  return new Blob(parts, { type: "application/jsonl" });
}
