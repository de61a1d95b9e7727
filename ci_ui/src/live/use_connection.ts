import { useQueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { Unreachable } from "../api/problem";
import { reachNow, watchReach } from "./tab";

/** What is to be said of the connection to the server. */
export type Connection = "fine" | "held_back" | "unreachable" | "offline" | "signed_out";

function subscribeToNetwork(listener: () => void) {
  addEventListener("online", listener);
  addEventListener("offline", listener);
  return () => {
    removeEventListener("online", listener);
    removeEventListener("offline", listener);
  };
}

/** Return how it stands with the connection, by what streams and requests of the page have met. */
export function useConnection(): Connection {
  const online = useSyncExternalStore(subscribeToNetwork, () => navigator.onLine);
  const reach = useSyncExternalStore(watchReach, reachNow);
  const cache = useQueryClient().getQueryCache();
  const unanswered = useSyncExternalStore(
    (listener) => cache.subscribe(listener),
    () => cache.getAll().some((query) => (query.state.error ?? query.state.fetchFailureReason) instanceof Unreachable),
  );
  if (!online) return "offline";
  if (reach === "reachable") return unanswered ? "unreachable" : "fine";
  return reach;
}
