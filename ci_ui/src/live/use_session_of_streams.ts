import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { askAgain, mustSignIn, type Session } from "../app/session";
import { reachNow, tellSignedIn, watchReach } from "./tab";

/** Between a sign-in and the next try: a server that says both yes and no is not asked again and again. */
const PAUSE_MS = 1_000;

/** Have the page ask who is signed in when a stream is refused, and the streams go on once someone is. */
export function useSessionOfStreams(session: Session | undefined) {
  const queries = useQueryClient();
  const isRefused = useSyncExternalStore(watchReach, reachNow) === "signed_out";
  const mayAsk = session !== undefined && !mustSignIn(session);
  useEffect(() => {
    if (isRefused) void askAgain(queries).catch(() => undefined);
  }, [queries, isRefused]);
  useEffect(() => {
    if (!isRefused || !mayAsk) return;
    const timer = setTimeout(tellSignedIn, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [isRefused, mayAsk]);
}
