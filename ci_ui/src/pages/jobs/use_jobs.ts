import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { api, type Schemas, unwrap } from "../../api/client";
import { nextCursor } from "../../api/paging";
import { useJobEvents } from "../../live";
import { addressOf, type Filters, queryOf } from "./filters";

export type Job = Schemas["JobView"];

const PAGE = 50;
const LARGEST_PAGE = 100;
/** Changes come in bursts, so the list is read again at most this often. */
const PAUSE_MS = 1_000;
/** Filters by time let jobs leave the list although nothing has changed. */
const REREAD_MS = 60_000;

export interface JobPage {
  jobs: Job[];
  /** Where the next page begins; null at the last one. */
  next: string | null;
}

/** Return the query of one page of the list, which is read again when a job has changed that may be in it. */
export function useJobs(filters: Filters, cursor: string | null) {
  useRereading(filters);
  return useQuery({
    queryKey: ["jobs", addressOf(filters).toString(), cursor],
    queryFn: ({ signal }) => readPage(filters, cursor, PAGE, signal),
    placeholderData: keepPreviousData,
    refetchInterval: REREAD_MS,
  });
}

function useRereading(filters: Filters) {
  const queries = useQueryClient();
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  useJobEvents({ project: filters.project || undefined, label: filters.labels }, () => {
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      void queries.invalidateQueries({ queryKey: ["jobs"] });
    }, PAUSE_MS);
  });
}

async function readPage(filters: Filters, cursor: string | null, limit: number, signal: AbortSignal): Promise<JobPage> {
  const query = { ...queryOf(filters, Date.now()), limit, ...(cursor ? { cursor } : {}) };
  const answer = await api.GET("/jobs", { params: { query }, signal });
  const jobs = await unwrap(Promise.resolve(answer));
  return { jobs, next: nextCursor(answer.response) };
}

/** Return all jobs that match, page by page; `onProgress` is told how many there are so far. */
export async function allMatching(
  filters: Filters,
  signal: AbortSignal,
  onProgress: (found: number) => void,
): Promise<Job[]> {
  const found: Job[] = [];
  let cursor: string | null = null;
  do {
    const page: JobPage = await readPage(filters, cursor, LARGEST_PAGE, signal);
    found.push(...page.jobs);
    cursor = page.next;
    onProgress(found.length);
  } while (cursor);
  return found;
}
