import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { jobText } from "#text/job";
import { api, unwrap } from "../../../api/client";
import { Failure } from "../../../components/placeholders";
import type { Job } from "../../../live";
import { jobPath, logPath } from "../links";
import { fullName, placeInLog } from "../tests/cases";
import styles from "./summary.module.css";

const SHOWN = 5;

/** The first of the tests that failed, each with its message and the way to its line in the log. */
export function Failing({ job }: { job: Job }) {
  const number = job.tests ? job.tests.failed + job.tests.errors : 0;
  const found = useQuery({
    queryKey: ["tests", job.job_id, "failing", job.attempt],
    enabled: number > 0,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/jobs/{job_id}/tests", {
          params: { path: { job_id: job.job_id }, query: { status: ["failed"], limit: SHOWN } },
          signal,
        }),
      ),
  });
  if (!number) return null;
  return (
    <section>
      <h2>{jobText.failing}</h2>
      {found.isError && <Failure error={found.error} retry={() => void found.refetch()} />}
      <ol className={styles.failing}>
        {found.data?.map((each) => (
          <li key={each.id}>
            <h3>
              <Link href={jobPath(job.job_id, "tests", { test: each.id })}>{fullName(each)}</Link>
            </h3>
            {each.file && <p className="muted">{jobText.line(each.file, each.line)}</p>}
            {each.message && <pre>{each.message}</pre>}
            <Link href={logPath(job.job_id, placeInLog(each, job.annotations))}>{jobText.inLog}</Link>
          </li>
        ))}
      </ol>
      {number > SHOWN && (
        <p>
          <Link href={jobPath(job.job_id, "tests", { status: "failed" })}>{jobText.failingMore(number)}</Link>
        </p>
      )}
    </section>
  );
}
