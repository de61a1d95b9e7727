import { submitText } from "#text/submit";
import { isProblem, Problem, Unreachable } from "../../api/problem";
import { LoadedWorker } from "../../api/worker";
import { apiUrl } from "../../app/base";
import type { Member } from "../../packing/zip";
import type { FromZipWorker } from "../../packing/zip.worker";
import workerUrl from "../../packing/zip.worker?worker&url";

/** The folder cannot be packed. The message is for people. */
export class NotPacked extends Error {}

/** Pack files in a worker. Throws NotPacked, and what the signal was aborted with. */
export function pack(members: Member[], onProgress: (bytes: number) => void, signal: AbortSignal): Promise<Blob> {
  return new Promise((resolve, reject) => {
    const stop = (end: () => void) => {
      worker.close();
      signal.removeEventListener("abort", abort);
      end();
    };
    const abort = () => stop(() => reject(signal.reason));
    signal.addEventListener("abort", abort);
    const heard = (data: FromZipWorker) => {
      if (data.type === "progress") onProgress(data.bytes);
      else if (data.type === "done") stop(() => resolve(data.archive));
      else stop(() => reject(new NotPacked(wordsOf(data))));
    };
    const failed = () => stop(() => reject(new NotPacked(submitText.fault)));
    const worker = new LoadedWorker<Member[], FromZipWorker>(workerUrl, heard, failed);
    worker.post(members);
  });
}

function wordsOf({ why, path }: Extract<FromZipWorker, { type: "failed" }>): string {
  if (why === "unreadable") return submitText.unreadable(path);
  return why === "too_large" ? submitText.tooLarge : submitText.fault;
}

/** Send an archive, and return the id of its job. The same key makes no second job. Throws Problem, Unreachable, and the signal's reason. */
export function send(
  archive: Blob,
  name: string,
  spec: Record<string, unknown>,
  key: string,
  onProgress: (sent: number, all: number) => void,
  signal: AbortSignal,
): Promise<string> {
  const form = new FormData();
  form.append("spec", JSON.stringify(spec));
  form.append("file", archive, `${name}.zip`);
  return new Promise((resolve, reject) => {
    // Only this kind of request tells how much has been sent.
    const request = new XMLHttpRequest();
    request.open("POST", `${apiUrl}/submit-async`);
    request.setRequestHeader("Idempotency-Key", key);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded, total);
    request.onerror = () => reject(new Unreachable());
    request.onload = () => {
      const answer: unknown = request.response;
      if (request.status < 300 && typeof answer === "object" && answer !== null && "job_id" in answer) {
        resolve(String(answer.job_id));
      } else {
        reject(new Problem(request.status, isProblem(answer) ? answer : null));
      }
    };
    signal.addEventListener("abort", () => {
      request.abort();
      reject(signal.reason);
    });
    request.send(form);
  });
}
