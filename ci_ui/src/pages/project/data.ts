import { useQuery } from "@tanstack/react-query";
import { api, type Schemas, unwrap } from "../../api/client";

export type Trend = Schemas["TrendView"];
export type Case = Schemas["CaseTotalsView"];

export const RANGES = [30, 100, 300] as const;
export type Range = (typeof RANGES)[number];

const FRESH_MS = 30_000;

/** How the last jobs of a project went. */
export function useTrend(project: string, limit: number) {
  return useQuery({
    queryKey: ["trend", project, limit],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/projects/{project}/trend", { signal, params: { path: { project }, query: { limit } } })),
    staleTime: FRESH_MS,
    refetchInterval: FRESH_MS,
  });
}

/** The tests of a project that need a look. */
export function useTests(project: string, sort: "failing" | "flaky" | "slowest") {
  return useQuery({
    queryKey: ["project-tests", project, sort],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/projects/{project}/tests", { signal, params: { path: { project }, query: { sort, limit: 10 } } }),
      ),
    staleTime: FRESH_MS,
  });
}

/** The settings of a project, and what is used of its quotas; null for one that was not created. */
export function useSettings(project: string) {
  return useQuery({
    queryKey: ["project", project],
    queryFn: async ({ signal }) => {
      // Most projects were never created, which is no fault, so the list is asked first.
      const created = await unwrap(api.GET("/projects", { signal }));
      if (!created.some((each) => each.name === project)) return null;
      return unwrap(api.GET("/projects/{project}", { signal, params: { path: { project } } }));
    },
    staleTime: FRESH_MS,
  });
}

/** Return the range that a query names; the first for any other. */
export function rangeFrom(search: string): Range {
  const named = new URLSearchParams(search).get("jobs");
  return RANGES.find((range) => String(range) === named) ?? RANGES[0];
}

/** Return the name at the end of a page's path, which the router has decoded in part. */
export function nameFrom(pathname: string, prefix: string): string {
  const encoded = pathname.slice(prefix.length);
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}
