import { useMutation, useQuery } from "@tanstack/react-query";
import { recordText } from "#text/record";
import { api, jobUrl, unwrap } from "../../api/client";
import { CopyButton } from "../../components/copy";
import { Failure, Loading } from "../../components/placeholders";
import type { Job } from "../../live";
import { canonical, sha256 } from "./canonical";
import styles from "./record.module.css";

/** The record of a run, as the server keeps it, and whether its digests hold. */
export default function RecordTab({ job }: { job: Job }) {
  const found = useQuery({
    queryKey: ["record", job.job_id, job.attempt, job.status],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/jobs/{job_id}/record", { params: { path: { job_id: job.job_id } }, signal })),
  });
  const words = recordText;
  if (found.isPending) return <Loading />;
  if (found.isError) return <Failure error={found.error} retry={() => void found.refetch()} />;
  const shown = JSON.stringify(found.data, null, 2);
  return (
    <section>
      <p>{found.data.sha256 ? words.about : words.unfinished}</p>
      <p className="actions">
        <CopyButton value={shown} label={words.copy} />
        <a href={jobUrl(job.job_id, "/record")} download={`record-${job.job_id}.json`}>
          {words.download}
        </a>
      </p>
      {found.data.sha256 && <Verify run={found.data.run} digest={found.data.sha256} />}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard. */}
      <pre className={styles.record} tabIndex={0}>
        {shown}
      </pre>
    </section>
  );
}

function Verify({ run, digest }: { run: { inputs: unknown; fingerprint: string }; digest: string }) {
  const words = recordText;
  const check = useMutation({
    mutationFn: async () => {
      const [record, fingerprint] = await Promise.all([sha256(canonical(run)), sha256(canonical(run.inputs))]);
      return { record: record === digest, fingerprint: fingerprint === run.fingerprint };
    },
  });
  return (
    <div role="status">
      <dl className={styles.digests}>
        <dt>{words.digest}</dt>
        <dd>
          <code>{digest}</code> {check.data && words.verdict(check.data.record)}
        </dd>
        <dt>{words.fingerprint}</dt>
        <dd>
          <code>{run.fingerprint}</code> {check.data && words.verdict(check.data.fingerprint)}
        </dd>
      </dl>
      {crypto.subtle ? (
        <button type="button" disabled={check.isPending} onClick={() => check.mutate()}>
          {words.verify}
        </button>
      ) : (
        <p className="muted">{words.insecure}</p>
      )}
    </div>
  );
}
