import { api, type Schemas, unwrap } from "../../api/client";
import { nextCursor } from "../../api/paging";
import type { Case } from "./cases";

export type Job = Schemas["JobView"];
export type Record = Schemas["RecordView"];

const PAGE = 500;
/** How many tests of a job are compared at most. */
export const MOST_CASES = 10_000;

export function readJob(job_id: string, signal: AbortSignal): Promise<Job> {
  return unwrap(api.GET("/jobs/{job_id}", { signal, params: { path: { job_id } } }));
}

export function readRecord(job_id: string, signal: AbortSignal): Promise<Record> {
  return unwrap(
    api.GET("/jobs/{job_id}/record", { signal, params: { path: { job_id }, query: { include: "files" } } }),
  );
}

export function readReports(job_id: string, signal: AbortSignal): Promise<Schemas["ReportsView"]> {
  return unwrap(api.GET("/jobs/{job_id}/reports", { signal, params: { path: { job_id } } }));
}

export function readArtifacts(job_id: string, signal: AbortSignal): Promise<Schemas["ArtifactListView"]> {
  return unwrap(api.GET("/jobs/{job_id}/artifacts", { signal, params: { path: { job_id } } }));
}

/** Return the tests of a job, at most so many as are compared. */
export async function readCases(job_id: string, signal: AbortSignal): Promise<Case[]> {
  const cases: Case[] = [];
  let cursor: string | null = null;
  do {
    const query = { limit: PAGE, ...(cursor === null ? {} : { cursor }) };
    const answer = await api.GET("/jobs/{job_id}/tests", { signal, params: { path: { job_id }, query } });
    cases.push(...(await unwrap(Promise.resolve(answer))));
    cursor = nextCursor(answer.response);
  } while (cursor !== null && cases.length < MOST_CASES);
  return cases;
}

export function hasEnded(job: Job): boolean {
  return job.status === "completed";
}
