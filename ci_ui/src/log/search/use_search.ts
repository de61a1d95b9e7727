import { useCallback, useEffect, useReducer, useRef, useState } from "react";
import type { Extent } from "../protocol";
import { Hits } from "./hits";
import type { Progress } from "./protocol";
import { faultOf, type Query } from "./query";
import { Searcher } from "./searcher";

const TYPING_MS = 150;

export interface SearchState {
  query: Query;
  setQuery(query: Query): void;
  /** Why the query cannot be searched for. */
  fault: string | null;
  hits: Hits;
  /** The hit that is shown, counted from 0; null without one. */
  current: number | null;
  /** What part of the log has been searched, from 0 to 1. */
  done: number;
  isOver: boolean;
  /** The search could not be started. */
  isLost: boolean;
  /** Show the next hit, or with -1 the previous one; after the last comes the first. */
  step(by: 1 | -1): void;
}

/** Return the query that the address names: `?find=…&expression=1&case=1`. */
function queryOfAddress(): Query {
  const given = new URLSearchParams(location.search);
  return {
    text: given.get("find") ?? "",
    isExpression: given.has("expression"),
    matchesCase: given.has("case"),
  };
}

function putIntoAddress(query: Query): void {
  const url = new URL(location.href);
  const put = (name: string, value: string) =>
    value ? url.searchParams.set(name, value) : url.searchParams.delete(name);
  put("find", query.text);
  put("expression", query.text && query.isExpression ? "1" : "");
  put("case", query.text && query.matchesCase ? "1" : "");
  if (url.href !== location.href) history.replaceState(history.state, "", url);
}

/** Search all of a log, and what it gains. `show` is called with the line of each hit that is to be seen. */
export function useSearch(
  url: string,
  extent: Extent | null,
  topLine: () => number,
  show: (line: number) => void,
): SearchState {
  const [query, setQuery] = useState(queryOfAddress);
  const [, render] = useReducer((count: number) => count + 1, 0);
  const [current, setCurrent] = useState<number | null>(null);
  const state = useRef({ hits: new Hits(), done: 0, isOver: true, isLost: false });
  const searcher = useRef<Searcher | null>(null);
  const latest = useRef({ extent, topLine, show });
  latest.current = { extent, topLine, show };
  const fault = query.text === "" ? null : faultOf(query);
  const isOpen = extent !== null;

  useEffect(() => {
    state.current = { hits: new Hits(), done: 0, isOver: query.text === "" || fault !== null, isLost: false };
    setCurrent(null);
    if (!isOpen || state.current.isOver) return;
    const mine = state.current;
    let first: number | null = null;
    const start = setTimeout(() => {
      putIntoAddress(query);
      const from = latest.current.topLine();
      const known = latest.current.extent;
      if (!known) return;
      const lost = () => {
        mine.isLost = true;
        render();
      };
      const progressed = (progress: Progress) => {
        mine.hits.add(progress.hits);
        mine.done = progress.size === 0 ? 1 : progress.done / progress.size;
        mine.isOver = progress.isOver;
        if (first === null && mine.hits.count > 0) {
          const next = mine.hits.firstFrom(from);
          if (next < mine.hits.count || progress.isOver) {
            first = next % mine.hits.count;
            setCurrent(first);
            latest.current.show(mine.hits.lineOf(first));
          }
        }
        render();
      };
      searcher.current = new Searcher(url, query, known, progressed, lost);
    }, TYPING_MS);
    return () => {
      clearTimeout(start);
      searcher.current?.close();
      searcher.current = null;
    };
  }, [url, query, fault, isOpen]);

  useEffect(() => {
    if (extent) searcher.current?.grown(extent);
  }, [extent]);

  const step = useCallback((by: 1 | -1) => {
    const { hits } = state.current;
    if (hits.count === 0) return;
    setCurrent((now) => {
      const next = now === null ? hits.firstFrom(latest.current.topLine()) : now + by;
      return (next + hits.count) % hits.count;
    });
  }, []);
  const shown = useRef<number | null>(null);
  useEffect(() => {
    if (current !== null && current !== shown.current) latest.current.show(state.current.hits.lineOf(current));
    shown.current = current;
  }, [current]);

  return {
    query,
    setQuery: useCallback((next: Query) => {
      if (next.text === "") putIntoAddress(next);
      setQuery(next);
    }, []),
    fault,
    current,
    step,
    ...state.current,
  };
}
