import { ask, Trouble } from "./asking";
import { type ServerEvent, serverEvents } from "./server_events";

/** How a stream ended: by itself or broken off, with nothing on it, or because nothing would follow (204). */
export type Outcome = "ended" | "silent" | "nothing_follows";

interface Request {
  url: string;
  lastId: string | null;
  signal: AbortSignal;
  firstByte: number;
  silence: number;
}

/** Follow a stream until it ends. Throws Trouble. Once `signal` is aborted, what is returned means nothing. */
export async function follow(request: Request, take: (event: ServerEvent) => void): Promise<Outcome> {
  const { url, lastId, signal, firstByte, silence } = request;
  const watchdog = new AbortController();
  let timer = setTimeout(() => watchdog.abort(), firstByte);
  let wasHeard = false;
  const heard = () => {
    wasHeard = true;
    clearTimeout(timer);
    timer = setTimeout(() => watchdog.abort(), silence);
  };
  try {
    const headers = { Accept: "text/event-stream", ...(lastId === null ? {} : { "Last-Event-ID": lastId }) };
    const answer = await ask(url, { headers, signal: AbortSignal.any([signal, watchdog.signal]) });
    if (answer.status !== 200 || !answer.body) return "nothing_follows";
    for await (const event of serverEvents(answer.body, heard)) {
      if (signal.aborted) break;
      take(event);
    }
  } catch (error) {
    if (error instanceof Trouble && !signal.aborted) throw error;
    if (error instanceof SyntaxError) throw error;
  } finally {
    clearTimeout(timer);
  }
  return watchdog.signal.aborted && !wasHeard ? "silent" : "ended";
}
