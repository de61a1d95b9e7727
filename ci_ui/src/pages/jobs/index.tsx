import { useEffect, useRef, useState } from "react";
import { Link, useSearchParams } from "wouter";
import { jobsText } from "#text/jobs";
import { Problem } from "../../api/problem";
import { useTitle } from "../../app/title";
import { Paging } from "../../components/filters/paging";
import { Empty, Failure, Loading } from "../../components/placeholders";
import type { Act } from "./batch";
import { BatchBar } from "./batch_bar";
import { FilterBar } from "./filter_bar";
import { addressOf, areEmpty, type Filters, filtersOf } from "./filters";
import { HelpDialog } from "./help";
import styles from "./jobs.module.css";
import { useKeys } from "./keys";
import { useSelection } from "./selection";
import { JobsTable } from "./table";
import { useJobs } from "./use_jobs";
import { Views } from "./views";

/** The jobs, newest first: live, with filters and pages in the address. */
export function JobsPage() {
  useTitle(jobsText.title);
  const [params, setParams] = useSearchParams();
  const filters = filtersOf(params);
  const cursor = params.get("cursor");
  const query = useJobs(filters, cursor);
  const shown = query.data?.jobs ?? [];
  const selection = useSelection(shown);
  const [asked, setAsked] = useState<Act | null>(null);
  const [isHelpShown, showHelp] = useState(false);
  const search = useRef<HTMLInputElement>(null);
  const address = addressOf(filters).toString();
  const { clear } = selection;
  // biome-ignore lint/correctness/useExhaustiveDependencies: jobs that other filters show are not selected.
  useEffect(() => clear(), [address]);
  const apply = (changed: Filters, replace: boolean) => setParams(addressOf(changed), { replace });
  useKeys({
    toggle: (id, range) => {
      const job = shown.find((each) => each.job_id === id);
      if (job) selection.toggle(job, range);
    },
    search: () => search.current?.focus(),
    ask: (act, id) => {
      const job = shown.find((each) => each.job_id === id);
      if (!selection.jobs.size && job) selection.set([job], false);
      if (selection.jobs.size || job) setAsked(act);
    },
    help: () => showHelp(true),
    clear,
  });
  return (
    <>
      <div className={styles.top}>
        <h1>{jobsText.title}</h1>
        <button type="button" onClick={() => showHelp(true)}>
          {jobsText.help} <kbd>?</kbd>
        </button>
      </div>
      <Views address={address} />
      <FilterBar filters={filters} apply={apply} search={search} />
      <BatchBar filters={filters} selection={selection} asked={asked} ask={setAsked} />
      {query.isError && query.data && query.error instanceof Problem && (
        <p className="warning" role="status">
          {jobsText.stale(query.error.message)}
        </p>
      )}
      {query.isPending && <Loading />}
      {query.isError && !query.data && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && (shown.length ? <JobsTable jobs={shown} selection={selection} /> : <Nothing filters={filters} />)}
      <Paging
        path="/"
        params={new URLSearchParams(cursor ? `${address}&cursor=${cursor}` : address)}
        next={query.data?.next ?? null}
        words={{ label: jobsText.page, first: jobsText.newest, next: jobsText.older }}
      />
      {isHelpShown && <HelpDialog onClose={() => showHelp(false)} />}
    </>
  );
}

function Nothing({ filters }: { filters: Filters }) {
  if (!areEmpty(filters)) {
    return (
      <Empty title={jobsText.noMatch}>
        <p>{jobsText.noMatchText}</p>
        <Link href="/">{jobsText.clear}</Link>
      </Empty>
    );
  }
  return (
    <Empty title={jobsText.empty}>
      <p>
        {jobsText.emptyHint} <code>ci run .</code> {jobsText.emptyOr} <Link href="/submit">{jobsText.emptySubmit}</Link>
        .
      </p>
    </Empty>
  );
}
