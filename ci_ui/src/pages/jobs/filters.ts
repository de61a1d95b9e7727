import type { paths } from "../../api/openapi";

export const STATES = [
  "active",
  "queued",
  "running",
  "completed",
  "succeeded",
  "failed",
  "cancelled",
  "timed_out",
  "errored",
] as const;
export type StateFilter = (typeof STATES)[number];

export const TIMES = ["1h", "1d", "7d", "30d"] as const;

/** Which jobs are listed, as the address of the page has it. */
export interface Filters {
  state: StateFilter | "";
  project: string;
  labels: string[];
  q: string;
  /** How long ago at most, as `7d`, or a time of the API; empty for any. */
  since: string;
}

export type ListQuery = NonNullable<paths["/jobs"]["get"]["parameters"]["query"]> &
  Record<string, string | number | string[]>;

/** Return the filters that an address names. What is no filter counts as none. */
export function filtersOf(params: URLSearchParams): Filters {
  const state = params.get("state");
  const since = params.get("since") ?? "";
  return {
    state: STATES.find((each) => each === state) ?? "",
    project: params.get("project") ?? "",
    labels: params.getAll("label").filter((label) => label.includes(":")),
    q: params.get("q") ?? "",
    since: /^\d{1,4}[hd]$/.test(since) || !Number.isNaN(Date.parse(since)) ? since : "",
  };
}

/** Return the query of an address with these filters, at its first page. */
export function addressOf(filters: Filters): URLSearchParams {
  const params = new URLSearchParams();
  if (filters.state) params.set("state", filters.state);
  if (filters.project) params.set("project", filters.project);
  for (const label of filters.labels) params.append("label", label);
  if (filters.q) params.set("q", filters.q);
  if (filters.since) params.set("since", filters.since);
  return params;
}

/** Return what the API is asked for, with a time that is relative to `now`, in milliseconds. */
export function queryOf(filters: Filters, now: number): ListQuery {
  const query: Record<string, string | string[]> = {};
  switch (filters.state) {
    case "":
      break;
    case "active":
      query.status = ["queued", "running"];
      break;
    case "queued":
    case "running":
    case "completed":
      query.status = [filters.state];
      break;
    default:
      query.conclusion = filters.state;
  }
  if (filters.project) query.project = filters.project;
  if (filters.labels.length) query.label = filters.labels;
  if (filters.q.trim()) query.q = filters.q.trim();
  if (filters.since) query.since = new Date(sinceTime(filters.since, now)).toISOString();
  return query as ListQuery;
}

function sinceTime(since: string, now: number): number {
  const relative = /^(\d+)([hd])$/.exec(since);
  if (!relative) return Date.parse(since);
  return now - Number(relative[1]) * (relative[2] === "h" ? 3_600_000 : 86_400_000);
}

export function areEmpty(filters: Filters): boolean {
  return addressOf(filters).size === 0;
}
