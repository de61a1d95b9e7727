import { useQuery } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { Problem } from "../../api/problem";

/**
 * The names of the projects that the reader may see, in alphabetical order: those that were created, and those that
 * jobs name which wait, run, or are recent.
 */
export function useNames() {
  return useQuery({
    queryKey: ["project-names"],
    queryFn: async ({ signal }) => {
      const [created, jobs, unfinished] = await Promise.all([
        allowed(unwrap(api.GET("/projects", { signal }))),
        allowed(unwrap(api.GET("/jobs", { signal, params: { query: { limit: 100 } } }))),
        allowed(unwrap(api.GET("/queue", { signal, params: { query: { limit: 0 } } })).then((queue) => queue.projects)),
      ]);
      const names = [
        ...created.map((project) => project.name),
        ...[...jobs, ...unfinished].flatMap((each) => each.project ?? []),
      ];
      return [...new Set(names)].sort((a, b) => a.localeCompare(b));
    },
    staleTime: 30_000,
  });
}

/** Return a list, which is empty where the reader may not see it. */
async function allowed<Item>(list: Promise<Item[]>): Promise<Item[]> {
  try {
    return await list;
  } catch (error) {
    if (error instanceof Problem && error.status === 403) return [];
    throw error;
  }
}
