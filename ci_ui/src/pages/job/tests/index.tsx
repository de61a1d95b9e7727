import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { testsText } from "#text/tests";
import { api, unwrap } from "../../../api/client";
import type { paths } from "../../../api/openapi";
import { nextCursor } from "../../../api/paging";
import { Paging } from "../../../components/filters/paging";
import { Failure, Loading } from "../../../components/placeholders";
import { durationWords } from "../../../components/time";
import type { Job } from "../../../live";
import { CaseState } from "./case_state";
import { type Case, fullName } from "./cases";
import { OneTest } from "./one_test";
import { TestFilters } from "./test_filters";
import styles from "./tests.module.css";

const PAGE = 100;

/** The tests of a job: filtered, page by page, or one of them with its history. */
export default function TestsTab({ job }: { job: Job }) {
  const [params] = useSearchParams();
  const test = params.get("test");
  if (!job.tests) return <NoTests job={job} />;
  return test ? <OneTest job={job} testId={test} /> : <TestList job={job} />;
}

function NoTests({ job }: { job: Job }) {
  return <p className="muted">{job.status === "completed" ? testsText.none : testsText.notYet}</p>;
}

function TestList({ job }: { job: Job }) {
  const [params] = useSearchParams();
  const asked = params.toString();
  const found = useQuery({
    queryKey: ["tests", job.job_id, job.attempt, asked],
    placeholderData: keepPreviousData,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async ({ signal }) => {
      const answer = await api.GET("/jobs/{job_id}/tests", {
        params: { path: { job_id: job.job_id }, query: queryOf(params) },
        signal,
      });
      return { tests: await unwrap(Promise.resolve(answer)), next: nextCursor(answer.response) };
    },
  });
  return (
    <section>
      <TestFilters job={job} />
      {found.isPending && <Loading />}
      {found.isError && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.data &&
        (found.data.tests.length ? <Table job={job} tests={found.data.tests} /> : <p>{testsText.noMatch}</p>)}
      {found.data && (
        <Paging
          path={`/jobs/${job.job_id}`}
          params={params}
          next={found.data.next}
          words={{ label: testsText.pages, first: testsText.first, next: testsText.next }}
        />
      )}
    </section>
  );
}

type Query = NonNullable<paths["/jobs/{job_id}/tests"]["get"]["parameters"]["query"]>;

function queryOf(params: URLSearchParams): Query {
  const query: Record<string, unknown> = { limit: PAGE };
  const show = params.get("status");
  if (show === "flaky" || show === "slower") query[show] = "true";
  else if (show === "newly_failing" || show === "still_failing" || show === "fixed") query.change = show;
  else if (show) query.status = [show];
  if (params.get("q")) query.q = params.get("q");
  if (params.get("sort")) query.sort = params.get("sort");
  if (params.get("cursor")) query.cursor = params.get("cursor");
  return query as Query;
}

function Table({ job, tests }: { job: Job; tests: Case[] }) {
  const [params] = useSearchParams();
  const leading = (id: string) => {
    const query = new URLSearchParams(params);
    query.set("test", id);
    return `/jobs/${job.job_id}?${query}`;
  };
  return (
    <table className={styles.table}>
      <thead>
        <tr>
          <th scope="col">{testsText.outcome}</th>
          <th scope="col">{testsText.test}</th>
          <th scope="col">{testsText.time}</th>
        </tr>
      </thead>
      <tbody>
        {tests.map((test) => (
          <tr key={test.id}>
            <td>
              <CaseState test={test} />
            </td>
            <td className={styles.name}>
              <Link href={leading(test.id)}>{fullName(test)}</Link>
              {test.message && <div className={styles.message}>{test.message.split("\n")[0]}</div>}
            </td>
            <td className={styles.time}>{test.seconds !== null && durationWords(test.seconds * 1_000)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
