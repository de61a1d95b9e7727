import { Unreachable } from "../../api/problem";
import { LoadedWorker } from "../../api/worker";
import type { Extent } from "../protocol";
import type { FromSearch, Progress, ToSearch } from "./protocol";
import type { Query } from "./query";
import workerUrl from "./search.worker?worker&url";

/** A search in a worker of its own, which ends with it: an expression that takes for ever blocks nothing else. */
export class Searcher {
  private readonly worker: LoadedWorker<ToSearch, FromSearch>;

  /** `failed` is called if the search cannot be started. */
  constructor(
    url: string,
    query: Query,
    extent: Extent,
    progressed: (progress: Progress) => void,
    failed: () => void,
    keepsLines = false,
  ) {
    const heard = (message: FromSearch) => {
      if (message.kind === "progress") progressed(message.progress);
    };
    this.worker = new LoadedWorker(workerUrl, heard, failed);
    this.worker.post({ kind: "search", url, query, size: extent.bytes, isComplete: extent.complete, keepsLines });
  }

  grown(extent: Extent): void {
    this.worker.post({ kind: "grown", size: extent.bytes, isComplete: extent.complete });
  }

  close(): void {
    this.worker.close();
  }
}

/** Return all lines of the log that match, as a file. Throws Unreachable. */
export function matchingLines(url: string, query: Query, extent: Extent): Promise<Blob> {
  return new Promise((resolve, reject) => {
    const searcher = new Searcher(
      url,
      query,
      extent,
      ({ lines }) => {
        if (!lines) return;
        searcher.close();
        resolve(lines);
      },
      () => reject(new Unreachable()),
      true,
    );
  });
}
