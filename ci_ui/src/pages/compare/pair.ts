import { type UseQueryResult, useQuery } from "@tanstack/react-query";

export interface Pair<Data> {
  before: Data;
  after: Data;
}

const AGAIN_MS = 5_000;

/** Read the same of two jobs as one query; again every few seconds for as long as it is not final. */
export function usePair<Data>(
  what: string,
  jobs: Pair<string>,
  read: (jobId: string, signal: AbortSignal) => Promise<Data>,
  { isFinal = () => true, enabled = true }: { isFinal?: (data: Data) => boolean; enabled?: boolean } = {},
): UseQueryResult<Pair<Data>> {
  return useQuery({
    enabled,
    queryKey: ["pair", what, jobs.before, jobs.after],
    queryFn: async ({ signal }) => {
      const [before, after] = await Promise.all([read(jobs.before, signal), read(jobs.after, signal)]);
      return { before, after };
    },
    refetchInterval: ({ state: { data } }) =>
      data !== undefined && !(isFinal(data.before) && isFinal(data.after)) && AGAIN_MS,
  });
}
