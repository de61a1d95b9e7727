import { type Member, Unreadable, zipped } from "./zip";

export type FromZipWorker =
  | { type: "progress"; bytes: number }
  | { type: "done"; archive: Blob }
  | { type: "failed"; why: "unreadable" | "too_large" | "fault"; path: string };

const tell = (message: FromZipWorker) => postMessage(message);
const PAUSE_MS = 100;

addEventListener("message", ({ data }: MessageEvent<Member[]>) => {
  let bytes = 0;
  let told = 0;
  const note = (more: number) => {
    bytes += more;
    if (performance.now() - told < PAUSE_MS) return;
    told = performance.now();
    tell({ type: "progress", bytes });
  };
  zipped(data, note).then(
    (archive) => tell({ type: "done", archive }),
    (error: unknown) => {
      if (error instanceof Unreadable) tell({ type: "failed", why: "unreadable", path: error.path });
      else tell({ type: "failed", why: error instanceof RangeError ? "too_large" : "fault", path: "" });
    },
  );
});
