import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { againText } from "#text/again";
import { api, unwrap } from "../../../api/client";
import { CodeField } from "../../../components/fields/code_field";
import { Failure, Loading } from "../../../components/placeholders";
import type { Job } from "../../../live";
import { changesOfText, type Run, specOf, textOf } from "./spec_text";

export interface SpecText {
  read: UseQueryResult<Run>;
  text: string;
  setText: (text: string) => void;
  wrong: string | undefined;
  /** Return what was changed; null if the text is not there yet, or is wrong. */
  changes: () => Record<string, unknown> | null;
}

/** The spec of a job as text, once it is wanted, and what was made of it. */
export function useSpecText(job: Job, isWanted: boolean): SpecText {
  const [typed, setTyped] = useState<string | null>(null);
  const [wrong, setWrong] = useState<string | undefined>();
  const read = useQuery({
    queryKey: ["record", job.job_id, job.attempt, job.status, "run"],
    queryFn: async ({ signal }) => {
      const params = { path: { job_id: job.job_id } };
      return (await unwrap(api.GET("/jobs/{job_id}/record", { params, signal }))).run;
    },
    enabled: isWanted,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const before = read.data && specOf(read.data);
  const text = typed ?? (before ? textOf(before) : "");
  return {
    read,
    text,
    setText: setTyped,
    wrong,
    changes: () => {
      if (!before) return null;
      const found = changesOfText(before, text);
      setWrong(found.wrong ?? undefined);
      return found.wrong === null ? found.changes : null;
    },
  };
}

/** The text of a spec, to be changed. */
export function SpecField({ spec: { read, text, setText, wrong } }: { spec: SpecText }) {
  if (read.isError) return <Failure error={read.error} retry={() => void read.refetch()} />;
  if (!read.data) return <Loading />;
  return (
    <CodeField
      label={againText.spec}
      hint={againText.specHint}
      language="yaml"
      rows={12}
      value={text}
      change={setText}
      wrong={wrong}
    />
  );
}
