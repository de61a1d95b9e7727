import { scriptUrl } from "../app/trusted";
import { PAUSES_MS } from "./reading";

interface Post<To> {
  message: To;
  transfer: Transferable[];
}

/**
 * A worker. If its script cannot be loaded, that is tried again, up to twice, with the messages that it has got until then;
 * its first one must come before any that transfers something.
 */
export class LoadedWorker<To, From> {
  private worker: Worker;
  private early: Post<To>[] | null = [];
  private isClosed = false;

  /** `failed` is called where the script cannot be loaded, or has a fault that it does not handle. */
  constructor(
    private readonly file: string,
    private readonly heard: (message: From) => void,
    private readonly failed: () => void,
  ) {
    this.worker = this.start([...PAUSES_MS]);
  }

  post(message: To, transfer: Transferable[] = []): void {
    this.early?.push({ message, transfer });
    this.worker.postMessage(message, transfer);
  }

  close(): void {
    this.isClosed = true;
    this.worker.terminate();
  }

  private again(pauses: number[]): void {
    if (this.isClosed) return;
    this.worker = this.start(pauses);
    for (const { message, transfer } of this.early ?? []) this.worker.postMessage(message, transfer);
  }

  /** Start the script; if it cannot be loaded, again after each of these pauses. */
  private start([pause, ...later]: number[]): Worker {
    const worker = new Worker(scriptUrl(new URL(this.file, document.baseURI)), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<From>) => {
      this.early = null;
      this.heard(data);
    };
    worker.onerror = (event: Event) => {
      // A script that cannot be loaded is told by a plain event.
      if (event instanceof ErrorEvent || pause === undefined) this.failed();
      else setTimeout(() => this.again(later), pause);
    };
    return worker;
  }
}
