import createClient from "openapi-fetch";
import { apiUrl } from "../app/base";
import type { components, paths } from "./openapi";
import { isProblem, Problem, Unreachable } from "./problem";
import { readAgain, whole } from "./reading";

export type Schemas = components["schemas"];

/** The API, with its own types. Its answers go through `unwrap`. */
export const api = createClient<paths>({ baseUrl: apiUrl, credentials: "same-origin", fetch: reached });

/** Send a request, and again if it only reads and fails. Throws Unreachable where the server does not answer. */
async function reached(request: Request): Promise<Response> {
  const sent = () => whole(fetch(request));
  if (request.method === "GET") return readAgain(sent, request.signal);
  try {
    return await sent();
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw new Unreachable();
  }
}

interface Answered<Data> {
  data?: Data;
  error?: unknown;
  response: Response;
}

/** Return the data of an answer. Throws Problem with what the server says if it refuses. */
export async function unwrap<Data>(answer: Promise<Answered<Data>>): Promise<Data> {
  const { data, error, response } = await answer;
  if (response.ok) return data as Data;
  throw new Problem(response.status, isProblem(error) ? error : null);
}

/** Return the path of a job in the API, with what follows it. */
export function jobUrl(jobId: string, rest = ""): string {
  return `${apiUrl}/jobs/${encodeURIComponent(jobId)}${rest}`;
}
