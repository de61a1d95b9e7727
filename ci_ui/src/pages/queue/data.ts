import { useQuery } from "@tanstack/react-query";
import { api, type Schemas, unwrap } from "../../api/client";

export type Metrics = Schemas["MetricsView"];

export type Job = Schemas["JobView"];
export type Queue = Schemas["QueueView"];

const SOON_MS = 3_000;
const MOST_JOBS = 100;

/** The numbers of the machine, read again every three seconds while the page is visible. */
export function useMetrics() {
  return useQuery({
    queryKey: ["metrics"],
    queryFn: async ({ signal }) => {
      const answer = unwrap(api.GET("/metrics", { signal, headers: { Accept: "application/json" } }));
      // The route has other formats, which are text. They are not asked for.
      return (await answer) as Metrics;
    },
    refetchInterval: SOON_MS,
  });
}

/** What waits, in the order in which it is expected to start, and how many slots are used. */
export function useQueue() {
  return useQuery({
    queryKey: ["queue"],
    queryFn: ({ signal }) => unwrap(api.GET("/queue", { signal })),
    refetchInterval: SOON_MS,
  });
}

/** The newest hundred jobs that run. */
export function useRunning() {
  return useQuery({
    queryKey: ["jobs", "running"],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/jobs", { signal, params: { query: { status: ["running"], limit: MOST_JOBS } } })),
    refetchInterval: SOON_MS,
  });
}

export function usePool() {
  return useQuery({
    queryKey: ["pool"],
    queryFn: ({ signal }) => unwrap(api.GET("/pool", { signal })),
    refetchInterval: SOON_MS,
  });
}
