import { useCallback, useEffect, useState } from "react";
import { hashOfRange, type LineRange, rangeBetween, rangeOfHash } from "./view/target";

export interface Target {
  /** The selected lines, which the address names. */
  range: LineRange | null;
  /** Select a line, or from where the selection began up to it. */
  select(line: number, extend: boolean): void;
  setRange(range: LineRange | null): void;
}

/** The selected lines. They are in the fragment of the address, and follow it when the reader goes back. */
export function useTarget(arrived: (range: LineRange) => void): Target {
  const [range, setShown] = useState(() => rangeOfHash(location.hash));
  const [anchor, setAnchor] = useState(range?.first ?? 0);
  useEffect(() => {
    const changed = () => {
      const now = rangeOfHash(location.hash);
      setShown(now);
      if (now) {
        setAnchor(now.first);
        arrived(now);
      }
    };
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, [arrived]);
  const setRange = useCallback((next: LineRange | null) => {
    setShown(next);
    history.replaceState(history.state, "", location.pathname + location.search + hashOfRange(next));
  }, []);
  const select = useCallback(
    (line: number, extend: boolean) => {
      if (!extend || anchor === 0) setAnchor(line);
      setRange(extend && anchor > 0 ? rangeBetween(anchor, line) : { first: line, last: line });
    },
    [anchor, setRange],
  );
  return { range, select, setRange };
}
