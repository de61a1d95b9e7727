import { useQuery } from "@tanstack/react-query";
import { api, unwrap } from "./client";

const INTERVAL_MS = 10_000;

export const ENVIRONMENTS = ["environments"];
export const CACHES = ["caches"];

/** The prepared environments that the reader may see, read again every 10 seconds while the page is visible. */
export function useEnvironments() {
  return useQuery({
    queryKey: ENVIRONMENTS,
    queryFn: ({ signal }) => unwrap(api.GET("/environments", { signal })),
    refetchInterval: INTERVAL_MS,
  });
}

/** The caches that the reader may see, read again every 10 seconds while the page is visible. */
export function useCaches() {
  return useQuery({
    queryKey: CACHES,
    queryFn: ({ signal }) => unwrap(api.GET("/caches", { signal })),
    refetchInterval: INTERVAL_MS,
  });
}
