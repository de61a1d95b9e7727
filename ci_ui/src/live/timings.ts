/** Times of the hub in milliseconds. */
export interface Timings {
  /** Nothing arrived on a new stream: something holds it back. The server says something at once. */
  firstByte: number;
  /** Nothing arrived any more, though the server sends a heartbeat every 15 s. */
  silence: number;
  /** How long streams are not tried again after they were held back; longer each time. */
  heldBack: number;
  longestHeldBack: number;
  /** Between two questions for the same job. */
  poll: number;
  /** The same for a job of hidden tabs. */
  hiddenPoll: number;
  /** Between two times that lists are read again where there is no stream. */
  lists: number;
  /** Between two documents of a job whose stream says that it has changed. */
  refresh: number;
  /** Waiting for a server that is gone. */
  firstRetry: number;
  longestRetry: number;
  /** A tab that has said nothing for so long is not visible any more. */
  unheard: number;
}

export const TIMINGS: Timings = {
  firstByte: 8_000,
  silence: 40_000,
  heldBack: 120_000,
  longestHeldBack: 600_000,
  poll: 2_000,
  hiddenPoll: 20_000,
  lists: 5_000,
  refresh: 400,
  firstRetry: 500,
  longestRetry: 15_000,
  unheard: 75_000,
};

/** How often a visible tab says that it is there. */
export const PING_MS = 30_000;

/** How long a hidden tab keeps what it has. */
export const HIDDEN_MS = 30_000;
