import { useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { jobText } from "#text/job";
import { testsText } from "#text/tests";
import { api, unwrap } from "../../../api/client";
import { CopyButton } from "../../../components/copy";
import { Failure, Loading } from "../../../components/placeholders";
import { durationWords, Time } from "../../../components/time";
import type { Job } from "../../../live";
import { jobPath, logPath } from "../links";
import { CaseState } from "./case_state";
import { fullName, placeInLog } from "./cases";
import styles from "./tests.module.css";

/** One test: why it failed, and how it ended in the jobs before. */
export function OneTest({ job, testId }: { job: Job; testId: string }) {
  const [params] = useSearchParams();
  const found = useQuery({
    queryKey: ["test", job.job_id, job.attempt, testId],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/jobs/{job_id}/tests/{test}", {
          params: { path: { job_id: job.job_id, test: testId } },
          signal,
        }),
      ),
  });
  const back = new URLSearchParams(params);
  back.delete("test");
  if (found.isPending) return <Loading />;
  if (found.isError) return <Failure error={found.error} retry={() => void found.refetch()} />;
  const { test, history } = found.data;
  const words = testsText;
  return (
    <section>
      <p>
        <Link href={`/jobs/${job.job_id}?${back}`}>{words.back}</Link>
      </p>
      <h2 className={styles.title}>{fullName(test)}</h2>
      <p>
        <CaseState test={test} />{" "}
        {test.seconds !== null && <span>{words.took(durationWords(test.seconds * 1_000))}</span>}{" "}
        {test.seconds_before !== null && (
          <span className="muted">{words.before(durationWords(test.seconds_before * 1_000))}</span>
        )}
      </p>
      {test.file && <p className="muted">{jobText.line(test.file, test.line)}</p>}
      {(test.status === "failed" || test.status === "error") && (
        <p>
          <Link href={logPath(job.job_id, placeInLog(test, job.annotations))}>{jobText.inLog}</Link>
        </p>
      )}
      <Part title={words.message} content={test.message} />
      <Part title={words.details} content={test.details} />
      <Part title={words.output} content={test.output} />
      {test.selector && (
        <p>
          <code className={styles.name}>{test.selector}</code> <CopyButton value={test.selector} />
        </p>
      )}
      {history.length > 0 && (
        <>
          <h3>{words.history}</h3>
          <table className={styles.table}>
            <thead>
              <tr>
                <th scope="col">{words.outcome}</th>
                <th scope="col">{words.job}</th>
                <th scope="col">{words.time}</th>
              </tr>
            </thead>
            <tbody>
              {history.map((past) => (
                <tr key={`${past.job_id} ${past.attempt}`}>
                  <td>
                    <CaseState test={past} />
                  </td>
                  <td className={styles.name}>
                    <Link href={jobPath(past.job_id, "tests", { test: testId })}>
                      <Time at={past.submit_time} />
                    </Link>
                    {past.message && <div className={styles.message}>{past.message.split("\n")[0]}</div>}
                  </td>
                  <td className={styles.time}>{past.seconds !== null && durationWords(past.seconds * 1_000)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </>
      )}
    </section>
  );
}

function Part({ title, content }: { title: string; content: string | null }) {
  if (!content) return null;
  return (
    <>
      <h3>{title}</h3>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard. */}
      <pre className={styles.output} tabIndex={0}>
        {content}
      </pre>
    </>
  );
}
