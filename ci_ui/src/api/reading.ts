import { Unreachable } from "./problem";

/** How long to wait before something that has failed is tried again: first the one, then the other. */
export const PAUSES_MS = [300, 1000];

/**
 * Return what `read` returns. If it fails, it is called again, up to twice, so it must change nothing. Throws Unreachable
 * if it fails each time, and what it threw if `signal` is aborted.
 *
 * A browser ends its connections whenever a network of its machine comes or goes, as that of each job in Docker does.
 */
export async function readAgain<Result>(read: () => Promise<Result>, signal?: AbortSignal | null): Promise<Result> {
  for (const pause of [...PAUSES_MS, null]) {
    try {
      return await read();
    } catch (error) {
      if (signal?.aborted) throw error;
    }
    if (pause !== null) await new Promise((resolve) => setTimeout(resolve, pause));
  }
  throw new Unreachable();
}

/** Read something of the server whole. Throws as `readAgain` does. */
export function readWhole(url: string, init: RequestInit = {}): Promise<Response> {
  return readAgain(() => whole(fetch(url, init)), init.signal);
}

/** Return an answer whose body has arrived, so that reading it cannot fail any more. */
export async function whole(sent: Promise<Response>): Promise<Response> {
  const answer = await sent;
  const body = await answer.arrayBuffer();
  return new Response(body.byteLength > 0 ? body : null, answer);
}
