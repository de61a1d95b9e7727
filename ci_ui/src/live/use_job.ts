import { type UseQueryResult, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { api, unwrap } from "../api/client";
import type { Job, Mode } from "./protocol";
import { watch } from "./tab";

/** Where the store of queries keeps a job. */
export function jobKey(jobId: string) {
  return ["job", jobId] as const;
}

/** The job that the hub told last: it may be newer than an answer that was asked for before. */
const told = new Map<string, Job>();

/** Read a job and keep it current: every tab that shows it hears of its changes from one stream. */
export function useJob(jobId: string): UseQueryResult<Job> {
  const queries = useQueryClient();
  const query = useQuery({
    queryKey: jobKey(jobId),
    queryFn: async ({ signal }) => {
      const before = told.get(jobId);
      const job = await unwrap(api.GET("/jobs/{job_id}", { params: { path: { job_id: jobId } }, signal }));
      const now = told.get(jobId);
      return now && now !== before ? now : job;
    },
  });
  const isOver = query.data?.status === "completed" || query.isError;
  useEffect(() => {
    if (isOver) return;
    return watch({
      jobId,
      position: () => null,
      take(message) {
        if (message.kind === "job") {
          told.set(jobId, message.job);
          queries.setQueryData(jobKey(jobId), message.job);
        } else if (message.kind === "gone") void queries.invalidateQueries({ queryKey: jobKey(jobId) });
      },
    });
  }, [queries, jobId, isOver]);
  return query;
}

/** Return how news of a job arrive at present. */
export function useJobMode(jobId: string): Mode {
  const [mode, setMode] = useState<Mode>("connecting");
  useEffect(
    () =>
      watch({
        jobId,
        position: () => null,
        take: (message) => {
          if (message.kind === "mode") setMode(message.mode);
        },
      }),
    [jobId],
  );
  return mode;
}
