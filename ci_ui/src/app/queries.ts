import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { isTemporary, Problem } from "../api/problem";

const RETRIES = 3;
const LONGEST_PAUSE_MS = 10_000;

/** Return the store of what the page has read from the server. */
export function createQueries(): QueryClient {
  // A refusal for want of a sign-in is told once, for the page as a whole: the frame asks who is signed in.
  const onError = (error: unknown) => {
    if (error instanceof Problem && error.status === 401) void queries.invalidateQueries({ queryKey: ["session"] });
  };
  const queries = new QueryClient({
    queryCache: new QueryCache({ onError }),
    mutationCache: new MutationCache({ onError }),
    defaultOptions: {
      queries: {
        retry: (count, error) => isTemporary(error) && count < RETRIES,
        retryDelay: (count) => Math.min(500 * 2 ** count, LONGEST_PAUSE_MS),
        staleTime: 5_000,
        networkMode: "always",
      },
      mutations: { retry: false, networkMode: "always" },
    },
  });
  return queries;
}
