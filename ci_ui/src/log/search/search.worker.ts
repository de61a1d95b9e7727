import { Ranges } from "../bytes/ranges";
import { LineScan } from "./line_scan";
import { type FromSearch, MOST_HITS, type ToSearch } from "./protocol";

const PIECE = 4 * 1024 * 1024;
const TELL_MS = 100;
const AGAIN_MS = 1_000;
const LINE_FEED = 10;

const say = (message: FromSearch, transfer: Transferable[] = []) => postMessage(message, { transfer });

/** One search through a log that may grow. */
class Search {
  private readonly ranges: Ranges;
  private readonly scan: LineScan;
  private readonly decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** Up to where the log has been read, and the bytes before that which have not been searched. */
  private at = 0;
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private line = 1;
  private found = 0;
  private hits: number[] = [];
  private told = 0;
  private isRunning = false;
  private readonly parts: Blob[] = [];

  constructor(
    private readonly asked: ToSearch & { kind: "search" },
    public size = asked.size,
    public isComplete = asked.isComplete,
  ) {
    this.ranges = new Ranges(asked.url);
    this.scan = new LineScan(asked.query);
  }

  async run(): Promise<void> {
    if (this.isRunning) return;
    this.isRunning = true;
    try {
      while (this.at < this.size && !this.isFull) {
        for await (const piece of this.ranges.stream(this.at, this.size)) {
          this.at += piece.length;
          this.waiting.push(piece);
          this.waitingBytes += piece.length;
          if (this.waitingBytes >= PIECE) this.searchWaiting(false);
          if (this.isFull) break;
        }
      }
    } finally {
      this.isRunning = false;
    }
    this.searchWaiting(this.isComplete);
    this.tell(true);
  }

  private get isFull(): boolean {
    return this.found >= MOST_HITS && !this.asked.keepsLines;
  }

  /** Search whole lines; a last one without a line feed only if nothing can follow it. */
  private searchWaiting(isLast: boolean): void {
    const all = new Uint8Array(this.waitingBytes);
    let at = 0;
    for (const piece of this.waiting) {
      all.set(piece, at);
      at += piece.length;
    }
    const end = isLast ? all.length : all.lastIndexOf(LINE_FEED) + 1;
    if (end > 0) this.search(this.decoder.decode(all.subarray(0, end)));
    this.waiting = [all.slice(end)];
    this.waitingBytes = all.length - end;
    if (performance.now() > this.told + TELL_MS) this.tell(false);
  }

  private search(text: string): void {
    const lines = this.asked.keepsLines ? text.split("\n") : [];
    const kept: string[] = [];
    const first = this.line;
    this.line += this.scan.scan(text, first, (line, matches) => {
      for (let match = 0; match < matches && this.found < MOST_HITS; match += 1) {
        this.found += 1;
        this.hits.push(line);
      }
      if (this.asked.keepsLines) kept.push(lines[line - first] ?? "", "\n");
    });
    if (kept.length > 0) this.parts.push(new Blob(kept));
  }

  private tell(isOver: boolean): void {
    this.told = performance.now();
    const hits = Float64Array.from(this.hits);
    this.hits = [];
    const lines = isOver && this.asked.keepsLines ? new Blob(this.parts, { type: "text/plain" }) : null;
    say({ kind: "progress", progress: { done: this.at, size: this.size, hits, isOver, lines } }, [hits.buffer]);
  }
}

let search: Search | null = null;

function run(): void {
  search?.run().catch((error: unknown) => {
    say({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
    setTimeout(run, AGAIN_MS);
  });
}

addEventListener("message", ({ data: message }: MessageEvent<ToSearch>) => {
  if (message.kind === "search") search = new Search(message);
  else if (search) {
    search.size = message.size;
    search.isComplete = message.isComplete;
  }
  run();
});
