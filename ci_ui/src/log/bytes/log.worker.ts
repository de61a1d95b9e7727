import { Problem } from "../../api/problem";
import type { Failed, FromWorker, LogOfJob, Question, Questions, ToWorker } from "../protocol";
import { Digest } from "./digest";
import { failureLine } from "./failure";
import { LogBytes } from "./log_bytes";
import { RowReader } from "./row_reader";

const say = (message: FromWorker, transfer: Transferable[] = []) => postMessage(message, { transfer });

type Answers = { [Name in Question]: (ask: Questions[Name]["ask"]) => Promise<Questions[Name]["answer"]> };

let answers: Answers | null = null;
let log: LogBytes | null = null;
let digest: Digest | null = null;
/** What changes the log is done in the order in which it was said. */
let work: Promise<void> = Promise.resolve();

function open(opened: LogOfJob): LogBytes {
  const bytes = new LogBytes(opened, () => say({ kind: "extent", extent: bytes.extent }));
  const taken = new Digest(bytes, (state) => say({ kind: "digest", digest: state }));
  const reader = new RowReader(bytes);
  taken.expect(opened.sha256);
  digest = taken;
  answers = {
    append: async ({ offset, bytes: gained }) => {
      await inOrder(() => bytes.append(offset, gained));
      catchUp();
      return null;
    },
    rows: ({ first, count }) => reader.rows(first, count),
    whole: async ({ line }) => {
      reader.showWhole(line);
      return null;
    },
    bytes: async ({ first, last }) => {
      const read = await bytes.read(await bytes.startOf(first), await bytes.startOf(last + 1));
      return read.slice().buffer as ArrayBuffer;
    },
    linesAt: ({ offsets }) => Promise.all(offsets.map((offset) => bytes.lineAt(offset))),
    failure: ({ start, end }) => failureLine(bytes, start, end),
    verify: async () => {
      await taken.verify();
      return null;
    },
  };
  return bytes;
}

/** Do something after what was to be done before. */
function inOrder(act: () => Promise<void>): Promise<void> {
  const done = work.then(act);
  work = done.catch(() => {});
  return done;
}

/** Do something to the log in order, and tell of its failure. */
function then(act: (bytes: LogBytes) => Promise<void>): void {
  inOrder(async () => {
    if (log) await act(log);
  }).catch((error: unknown) => say({ kind: "failed", failed: failedOf(error) }));
}

async function answer(id: number, question: Question, ask: unknown): Promise<void> {
  try {
    const value = await (answers?.[question] as ((ask: unknown) => Promise<unknown>) | undefined)?.(ask);
    say({ kind: "answer", id, answer: value, failed: null }, value instanceof ArrayBuffer ? [value] : []);
  } catch (error) {
    say({ kind: "answer", id, answer: null, failed: failedOf(error) });
  }
}

function failedOf(error: unknown): Failed {
  const known = error instanceof Error ? error : new Error(String(error));
  return { name: known.name, message: known.message, status: known instanceof Problem ? known.status : 0 };
}

function catchUp(): void {
  digest?.goOn().catch((error: unknown) => say({ kind: "failed", failed: failedOf(error) }));
}

addEventListener("message", ({ data: message }: MessageEvent<ToWorker>) => {
  switch (message.kind) {
    case "open":
      log = open(message.log);
      then(async (bytes) => {
        await bytes.open();
        catchUp();
      });
      break;
    case "ended":
      then(async (bytes) => {
        await bytes.end(message.size);
        digest?.expect(message.sha256);
        catchUp();
      });
      break;
    case "ask":
      void answer(message.id, message.question, message.ask);
  }
});
