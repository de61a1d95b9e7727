import { useEffect, useMemo, useState } from "react";
import type { Step } from "./attempt";
import type { LogClient } from "./client";
import type { Extent } from "./protocol";
import { Arrangement, type Section } from "./view/arrangement";

/** Return the key of the section of a step. */
export const stepKey = (number: number) => `step ${number}`;

/** The steps of a log as sections, with the lines where they begin, as soon as these are known. */
export function useSections(client: LogClient | null, steps: readonly Step[], extent: Extent | null): Section[] {
  const lines = extent?.lines ?? 0;
  const bytes = extent?.bytes ?? 0;
  const offsets = steps.map((step) => step.log_offset).join(" ");
  const [{ starts, asked }, setFound] = useState<{ starts: number[]; asked: number }>({ starts: [], asked: 0 });
  // The line of a step that has written nothing yet is known with its first byte; lines of others never change.
  const isSettled = starts.length === steps.length && steps.every((step) => step.log_offset < asked);
  const growth = isSettled ? 0 : bytes;
  useEffect(() => {
    if (!client || offsets === "" || growth === 0) return;
    let isCurrent = true;
    client.ask("linesAt", { offsets: offsets.split(" ").map(Number) }).then(
      (found) => isCurrent && setFound({ starts: found, asked: growth }),
      () => {},
    );
    return () => {
      isCurrent = false;
    };
  }, [client, offsets, growth]);
  return useMemo(
    () =>
      starts.slice(0, steps.length).map((first, number) => ({
        key: stepKey(number),
        first: Math.min(first, lines + 1),
        last: Math.min(lines, (starts[number + 1] ?? lines + 1) - 1),
        hasHeader: true,
      })),
    [starts, steps.length, lines],
  );
}

/** The arrangement of lines and headers. */
export function useArrangement(lines: number, sections: readonly Section[], folded: ReadonlySet<string>): Arrangement {
  return useMemo(() => new Arrangement(lines, sections, folded), [lines, sections, folded]);
}
