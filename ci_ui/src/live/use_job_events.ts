import { useEffect, useEffectEvent } from "react";
import { type Change, type Filters, matches } from "./protocol";
import { watchChanges } from "./tab";

/**
 * Call back for each change of a job that fits the filters, from one stream for all tabs. Jobs come in their short form.
 * After `{ kind: "reset" }`, which comes first, and after each gap, the list has to be read again.
 */
export function useJobEvents(filters: Filters, onChange: (change: Change) => void) {
  const { project, type } = filters;
  const labels = JSON.stringify(filters.label ?? []);
  const changed = useEffectEvent(onChange);
  useEffect(() => {
    const wanted: Filters = { project, type, label: JSON.parse(labels) as string[] };
    return watchChanges({
      filters: wanted,
      take(change) {
        if (change.kind !== "job" || matches(wanted, change.job)) changed(change);
      },
    });
  }, [project, type, labels]);
}
