import type { LogBytes } from "./log_bytes";
import { plainText } from "./scanner";

const LOOKED_AT = 512 * 1024;

/** How lines begin, or what they have in them, that say why something failed. */
const SAYS_WHY =
  /^(E {3}|error\b|fatal\b|panic:|FAIL(ED)?\b|--- FAIL|not ok \d|Traceback )|\b(error|fatal|[A-Z]\w*(Error|Exception))(\[\w+\])?:|^\s*(×|✗|✕|✖) /i;

/** Return the first line between two bytes that says why they failed, or the last one if none does. */
export async function failureLine(log: LogBytes, start: number, end: number): Promise<number> {
  const from = Math.max(start, end - LOOKED_AT);
  if (end <= from) return log.lineAt(Math.max(0, end - 1));
  const first = await log.lineAt(from);
  const text = new TextDecoder().decode(await log.read(from, end));
  const found = text.split("\n").findIndex((line) => SAYS_WHY.test(plainText(line.slice(0, 2_000))));
  return found === -1 ? log.lineAt(end - 1) : first + found;
}
