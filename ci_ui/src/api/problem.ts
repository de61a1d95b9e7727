import type { components } from "./openapi";

type ProblemView = components["schemas"]["ProblemView"];

/** The server has refused a request, or could not carry it out. Its message is meant for people. */
export class Problem extends Error {
  readonly status: number;
  /** What programs go by, such as `not_found`; empty if something between the page and the server has answered. */
  readonly code: string;
  readonly fields: { path: string; message: string }[];

  constructor(status: number, view: ProblemView | null) {
    super(view?.detail ?? `The server answered with status ${status}.`);
    this.name = "Problem";
    this.status = status;
    this.code = view?.code ?? "";
    this.fields = view?.errors ?? [];
  }
}

/** The server does not answer, or the network is gone. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer.");
    this.name = "Unreachable";
  }
}

/** Return whether an answer's body is a problem document (RFC 9457). */
export function isProblem(body: unknown): body is ProblemView {
  return typeof body === "object" && body !== null && "detail" in body && "code" in body;
}

/** Return whether the same request may succeed later, without a change. */
export function isTemporary(error: unknown): boolean {
  return error instanceof Unreachable || (error instanceof Problem && [429, 502, 503, 504].includes(error.status));
}
