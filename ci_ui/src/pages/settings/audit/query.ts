import type { paths } from "../../../api/openapi";

type AuditQuery = NonNullable<paths["/audit"]["get"]["parameters"]["query"]>;

export const TYPED = ["actor", "action", "target", "project"] as const;
export const OUTCOMES = ["done", "refused"] as const;
export const DAYS = ["since", "until"] as const;
export type FilterName = (typeof TYPED)[number] | (typeof DAYS)[number] | "outcome";

/** Return what the API is asked for, of what an address asks for. Days are those of the reader's zone. */
export function queryOf(params: URLSearchParams): AuditQuery {
  const query: Record<string, string> = {};
  for (const name of TYPED) {
    const wanted = params.get(name)?.trim();
    if (wanted) query[name] = wanted;
  }
  const outcome = OUTCOMES.find((each) => each === params.get("outcome"));
  if (outcome) query.outcome = outcome;
  const since = dayOf(params.get("since"), 0);
  if (since) query.since = since;
  const before = dayOf(params.get("until"), 1);
  if (before) query.before = before;
  return query as AuditQuery;
}

/** Return the time at which a day begins, some days later; null if the text is no day. */
function dayOf(text: string | null, later: number): string | null {
  const parts = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text ?? "");
  if (!parts) return null;
  const [year, month, day] = parts.slice(1).map(Number) as [number, number, number];
  return new Date(year, month - 1, day + later).toISOString();
}

/** Return an address with one filter changed, at its first page. */
export function withFilter(params: URLSearchParams, name: FilterName, value: string): URLSearchParams {
  const changed = new URLSearchParams(params);
  changed.delete("cursor");
  if (value) changed.set(name, value);
  else changed.delete(name);
  return changed;
}

/** Return whether an address narrows the list. */
export function isNarrowed(params: URLSearchParams): boolean {
  return Object.keys(queryOf(params)).length > 0;
}

/** Return the page that shows what an entry is about; null if there is none. */
export function pageOf(target: string): string | null {
  const found = /^\/(jobs|projects)\/([^/]+)/.exec(target);
  if (!found || found[2] === "cleanup") return null;
  return `/${found[1]}/${found[2]}`;
}
