import { ask, backoff, Trouble } from "./asking";
import type { Timings } from "./timings";

/** Whether the server can be asked. While it cannot, one request at a time finds out, for all jobs of all tabs. */
export class Gate {
  isOpen = true;
  /** The last request was refused for want of a sign-in. Nothing is asked until `signIn`. */
  isSignedOut = false;
  readonly #api: string;
  readonly #timings: Timings;
  readonly #changed: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;

  constructor(api: string, timings: Timings, changed: () => void) {
    this.#api = api;
    this.#timings = timings;
    this.#changed = changed;
  }

  get passes(): boolean {
    return this.isOpen && !this.isSignedOut;
  }

  /** Note that the server could not be asked, and wants to be left alone for so many milliseconds. */
  fail(pause: number) {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#failures = 0;
    this.#wait(pause);
    this.#changed();
  }

  signOut() {
    if (this.isSignedOut) return;
    this.isSignedOut = true;
    this.#changed();
  }

  signIn() {
    if (!this.isSignedOut) return;
    this.isSignedOut = false;
    this.#changed();
  }

  /** Look now whether the server is back: a reader has turned to a page, or the network has come. */
  hurry() {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    void this.#look();
  }

  #wait(least: number) {
    const { firstRetry, longestRetry } = this.#timings;
    const wait = Math.max(least, backoff(this.#failures, firstRetry, longestRetry));
    this.#timer = setTimeout(() => void this.#look(), wait);
  }

  async #look() {
    this.#timer = undefined;
    try {
      await ask(`${this.#api}/health`, { signal: AbortSignal.timeout(this.#timings.firstByte) });
      this.isOpen = true;
      this.#changed();
    } catch (error) {
      this.#failures += 1;
      this.#wait(error instanceof Trouble ? error.pause : 0);
    }
  }
}
