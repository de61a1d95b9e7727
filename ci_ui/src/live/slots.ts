/** How many streams a browser has open at once: over HTTP/1.1 it has six connections to a server for all of its tabs. */
export const SLOTS = 3;
const TRIES = 5;
const PAUSE_MS = 50;

/** The right to have a stream open, which all hubs of the browser share where it has Web Locks. */
export class Slots {
  readonly #names: string[];
  readonly #held = new Set<string>();

  /** `scope` names the server. Without Web Locks, which need HTTPS or this machine, a hub may have `alone` streams. */
  constructor(scope: string, alone: number) {
    const count = navigator.locks ? SLOTS : alone;
    this.#names = Array.from({ length: count }, (_, number) => `ci-stream ${scope} ${number}`);
  }

  /** Return how to give a slot back, or null where all are taken. */
  async take(): Promise<(() => void) | null> {
    for (let tries = 0; tries < TRIES; tries += 1) {
      const release = await this.#tryAll();
      if (release) return release;
      // A stream that was stopped for this one gives its slot back in a moment.
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    return null;
  }

  async #tryAll(): Promise<(() => void) | null> {
    for (const name of this.#names) {
      if (this.#held.has(name)) continue;
      this.#held.add(name);
      const release = await locked(name);
      if (release) {
        return () => {
          release();
          this.#held.delete(name);
        };
      }
      this.#held.delete(name);
    }
    return null;
  }
}

function locked(name: string): Promise<(() => void) | null> {
  if (!navigator.locks) return Promise.resolve(() => undefined);
  return new Promise((resolve) => {
    void navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      if (!lock) return resolve(null);
      return new Promise<void>((release) => resolve(release));
    });
  });
}
