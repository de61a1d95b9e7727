import type { DigestState } from "../protocol";
import type { LogBytes } from "./log_bytes";
import { Sha256 } from "./sha256";

/** A log up to so many bytes is read and compared without being asked to. */
export const UNASKED_BYTES = 64 * 1024 * 1024;

const TELL_EVERY = 16 * 1024 * 1024;

/** Takes the digest of all bytes of a log, and compares it with the job's. */
export class Digest {
  private readonly hash = new Sha256();
  private running = false;
  private asked = false;
  private expected: string | null = null;
  private isCompared = false;
  private told = 0;

  constructor(
    private readonly log: LogBytes,
    private readonly tell: (state: DigestState) => void,
  ) {}

  /** Go on, however large the log is. */
  verify(): Promise<void> {
    this.asked = true;
    return this.goOn();
  }

  /** The job says that the digest of its log is this. */
  expect(sha256: string | null): void {
    this.expected = sha256;
  }

  /** Take what has come since, if the log was small when it was opened, or was asked for. */
  async goOn(): Promise<void> {
    if (this.hash.size === 0 && !this.asked && this.log.extent.bytes > UNASKED_BYTES) return;
    if (this.running) return;
    this.running = true;
    try {
      while (this.hash.size < this.log.extent.bytes) {
        for await (const piece of this.log.pieces(this.hash.size, this.log.extent.bytes)) {
          this.hash.update(piece);
          this.tellOfProgress();
        }
      }
    } finally {
      this.running = false;
    }
    this.compare();
  }

  private tellOfProgress(): void {
    if (!this.asked || this.hash.size < this.told + TELL_EVERY) return;
    this.told = this.hash.size;
    this.tell({ kind: "reading", done: this.told });
  }

  private compare(): void {
    // The end is told by the stream and by the job, and a digest can be taken once only.
    if (this.isCompared || !this.log.extent.complete || this.expected === null) return;
    this.isCompared = true;
    this.tell({ kind: this.hash.digest() === this.expected ? "same" : "different" });
  }
}
