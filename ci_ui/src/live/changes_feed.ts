import type { Schemas } from "../api/client";
import { backoff, pause, Trouble } from "./asking";
import type { Change } from "./protocol";
import type { ServerEvent } from "./server_events";
import type { Slots } from "./slots";
import { follow } from "./streaming";
import type { Timings } from "./timings";

type FeedEvent =
  | Schemas["BeginEvent"]
  | Schemas["ResetEvent"]
  | Schemas["ChangedEvent"]
  | Schemas["DeletedEvent"]
  | Schemas["RefusedEvent"];

/** What the feed of all changes needs of the hub. */
export interface ChangesHost {
  readonly api: string;
  readonly timings: Timings;
  readonly slots: Slots;
  changed(change: Change): void;
  trouble(error: Trouble): void;
  heldBack(): void;
  flows(): void;
}

/** The changes of all jobs: one stream for the lists of all tabs. */
export class ChangesFeed {
  readonly #host: ChangesHost;
  #control: AbortController | null = null;
  #lastId: string | null = null;

  constructor(host: ChangesHost) {
    this.#host = host;
  }

  start() {
    if (this.#control) return;
    const control = new AbortController();
    this.#control = control;
    void this.#run(control.signal).finally(() => {
      if (this.#control === control) this.#control = null;
    });
  }

  /** Stop, and go on with the same change at the next start if that is wanted. */
  stop(goesOn: boolean) {
    this.#control?.abort();
    this.#control = null;
    if (!goesOn) this.#lastId = null;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { api, timings, slots } = this.#host;
    for (let failures = 0; !signal.aborted; failures += 1) {
      const slot = await slots.take();
      try {
        if (slot) {
          const { firstByte, silence } = timings;
          const request = { url: `${api}/events`, lastId: this.#lastId, signal, firstByte, silence };
          const outcome = await follow(request, (event) => {
            failures = 0;
            this.#heard(event);
          });
          if (outcome === "silent" && !signal.aborted) return this.#host.heldBack();
        } else {
          this.#host.changed({ kind: "reset" }); // What another hub hears, this one does not.
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Trouble)) throw error;
        if (error.why !== "busy" && error.why !== "gone") return this.#host.trouble(error);
        this.#lastId = null; // It may be one that the server does not take.
        await pause(error.pause, signal);
      } finally {
        slot?.();
      }
      await pause(backoff(failures, slot ? timings.firstRetry : timings.lists, timings.longestRetry), signal);
    }
  }

  #heard(event: ServerEvent) {
    if (event.id) this.#lastId = event.id;
    this.#host.flows();
    if (!event.data) return;
    const said = JSON.parse(event.data) as FeedEvent;
    switch (said.type) {
      case "job":
        return this.#host.changed({ kind: "job", event: said.event, job: said.job });
      case "deleted":
        return this.#host.changed({ kind: "deleted", jobId: said.job_id });
      case "refused":
        return this.#host.trouble(new Trouble("signed_out"));
      default:
        return this.#host.changed({ kind: "reset" });
    }
  }
}
