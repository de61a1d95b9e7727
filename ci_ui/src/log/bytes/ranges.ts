import { isProblem, Problem, Unreachable } from "../../api/problem";
import { readAgain, whole } from "../../api/reading";

/** What the server has of a log, by range. */
export class Ranges {
  constructor(
    private readonly url: string,
    private readonly signal?: AbortSignal,
  ) {}

  /** Return the bytes from `start` up to `end`, fewer if the log ends before. Throws Problem and Unreachable. */
  async read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const response = await this.ask(start, end, whole);
    const bytes = new Uint8Array(await response.arrayBuffer());
    return response.status === 200 ? bytes.subarray(start, end) : bytes;
  }

  /** Yield the bytes from `start` up to `end` in pieces as they arrive. Throws Problem and Unreachable. */
  async *stream(start: number, end: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const response = await this.ask(start, end, (sent) => sent);
    const reader = response.body?.getReader();
    if (!reader) return;
    let skipped = response.status === 200 ? start : 0;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        if (skipped >= value.length) skipped -= value.length;
        else {
          yield value.subarray(skipped) as Uint8Array<ArrayBuffer>;
          skipped = 0;
        }
      }
    } catch (error) {
      if (this.signal?.aborted) throw error;
      throw new Unreachable();
    } finally {
      void reader.cancel().catch(() => {});
    }
  }

  private async ask(
    start: number,
    end: number,
    until: (sent: Promise<Response>) => Promise<Response>,
  ): Promise<Response> {
    // A request for no more than what is there never asks for a range that the server has to refuse.
    const range = start === 0 && end === Number.POSITIVE_INFINITY ? {} : { Range: `bytes=${start}-${lastOf(end)}` };
    const init = { headers: range, ...(this.signal && { signal: this.signal }) };
    const response = await readAgain(() => until(fetch(this.url, init)), this.signal);
    if (response.ok) return response;
    const body: unknown = await response.json().catch(() => null);
    throw new Problem(response.status, isProblem(body) ? body : null);
  }
}

function lastOf(end: number): string {
  return end === Number.POSITIVE_INFINITY ? "" : String(end - 1);
}
