import { Problem, Unreachable } from "../api/problem";
import { LoadedWorker } from "../api/worker";
import workerUrl from "./bytes/log.worker?worker&url";
import type { DigestState, Extent, Failed, FromWorker, LogOfJob, Question, Questions, ToWorker } from "./protocol";

export interface Listener {
  extent(extent: Extent): void;
  digest(digest: DigestState): void;
  failed(error: Error): void;
}

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

/** A log in a worker of its own. */
export class LogClient {
  private readonly worker: LoadedWorker<ToWorker, FromWorker>;
  private readonly waiting = new Map<number, Waiting>();
  private asked = 0;

  constructor(log: LogOfJob, listener: Listener) {
    const heard = (message: FromWorker) => {
      if (message.kind === "extent") listener.extent(message.extent);
      else if (message.kind === "digest") listener.digest(message.digest);
      else if (message.kind === "failed") listener.failed(errorOf(message.failed));
      else this.answered(message.id, message.answer, message.failed);
    };
    this.worker = new LoadedWorker(workerUrl, heard, () => listener.failed(new Unreachable()));
    this.worker.post({ kind: "open", log });
  }

  ask<Name extends Question>(
    question: Name,
    ask: Questions[Name]["ask"],
    transfer: Transferable[] = [],
  ): Promise<Questions[Name]["answer"]> {
    this.asked += 1;
    const id = this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: (answer) => resolve(answer as Questions[Name]["answer"]), reject });
      this.worker.post({ kind: "ask", id, question, ask }, transfer);
    });
  }

  /** Give bytes that the log has gained. Resolves when they have been taken. */
  async append(offset: number, bytes: Uint8Array): Promise<void> {
    const own = bytes.slice();
    await this.ask("append", { offset, bytes: own }, [own.buffer]);
  }

  end(size: number, sha256: string | null): void {
    this.worker.post({ kind: "ended", size, sha256 });
  }

  close(): void {
    this.worker.close();
  }

  private answered(id: number, answer: unknown, failed: Failed | null): void {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (failed) waiting?.reject(errorOf(failed));
    else waiting?.resolve(answer);
  }
}

function errorOf(failed: Failed): Error {
  if (failed.name === "Unreachable") return new Unreachable();
  if (failed.status) return Object.assign(new Problem(failed.status, null), { message: failed.message });
  return new Error(failed.message);
}
