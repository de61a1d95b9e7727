import { readAgain } from "../api/reading";

/** Why a request of the hub, or of a follower, has no answer that can be used. */
export type Why =
  | "unreachable"
  /** The server is there, and does not answer this now. */
  | "busy"
  | "signed_out"
  /** What was asked for is not there, or may not be seen. */
  | "gone";

const SERVER_IS_GONE = [502, 503, 504];

export class Trouble extends Error {
  readonly why: Why;
  /** How long the server wants to be left alone, in milliseconds. */
  readonly pause: number;

  constructor(why: Why, pause = 0) {
    super(why);
    this.name = "Trouble";
    this.why = why;
    this.pause = pause;
  }
}

/** Return an answer with a status below 400, or 416. Throws Trouble, and what `signal` is aborted with. */
export async function ask(url: string, init: RequestInit & { signal: AbortSignal }): Promise<Response> {
  const fresh: RequestInit = { credentials: "same-origin", cache: "no-store", redirect: "error", ...init };
  let answer: Response;
  try {
    answer = await readAgain(() => fetch(url, fresh), init.signal);
  } catch (error) {
    if (init.signal.aborted) throw error;
    throw new Trouble("unreachable");
  }
  const { status } = answer;
  if (status < 400 || status === 416) return answer;
  void answer.body?.cancel();
  if (status === 401) throw new Trouble("signed_out");
  const wait = (Number(answer.headers.get("Retry-After")) || 0) * 1_000;
  if (SERVER_IS_GONE.includes(status)) throw new Trouble("unreachable", wait);
  if (status === 408 || status === 429 || status >= 500) throw new Trouble("busy", wait);
  throw new Trouble("gone");
}

/** Wait. Returns at once, or early, if `signal` is aborted. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
  });
}

/** Return how long to wait after so many failures in a row: longer each time, and differently for each who waits. */
export function backoff(failures: number, first: number, longest: number): number {
  return Math.min(longest, first * 2 ** Math.min(failures, 20)) * (0.5 + Math.random() / 2);
}
