export const TABS = ["summary", "log", "tests", "artifacts", "timeline", "attempts", "record"] as const;
export type Tab = (typeof TABS)[number];

/** Return the path of a job's page. */
export function jobPath(jobId: string, tab: Tab = "summary", more: Record<string, string> = {}): string {
  const query = new URLSearchParams(tab === "summary" ? more : { tab, ...more });
  return query.size ? `/jobs/${jobId}?${query}` : `/jobs/${jobId}`;
}

/** Return the path of the log's page, at the line that begins at this byte offset. */
export function logPath(jobId: string, offset?: number | null): string {
  return jobPath(jobId, "log", offset === undefined || offset === null ? {} : { at: String(offset) });
}

/** Return the tab that a query names; the summary for any other. */
export function tabOf(query: string): Tab {
  const named = new URLSearchParams(query).get("tab");
  return TABS.find((tab) => tab === named) ?? "summary";
}
