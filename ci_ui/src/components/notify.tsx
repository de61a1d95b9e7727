import { useEffect, useState } from "react";
import { commonText } from "#text/common";
import { liveText } from "#text/live";
import { pagesPath } from "../app/base";
import type { Job } from "../live";
import { nameOf } from "./job_name";
import { stateOf } from "./state";

const PREFIX = "ci-ui.notify.";
const OTHERS_HEAR_MS = 60_000;

/** Offers to notify the reader when a job ends, once however many of its pages are open. Nothing once it has ended. */
export function NotifyButton({ job }: { job: Job }) {
  const { job_id: jobId } = job;
  const isOver = job.status === "completed";
  const [wasRunning] = useState(!isOver);
  const [isAsked, setIsAsked] = useState(() => stored(jobId));
  const [isBlocked, setIsBlocked] = useState(false);
  useEffect(() => {
    if (isOver && forgotten(jobId) && wasRunning) once(jobId, () => show(job));
  }, [isOver, wasRunning, jobId, job]);
  if (isOver || typeof Notification !== "function") return null;

  async function ask() {
    if ((await Notification.requestPermission()) !== "granted") return setIsBlocked(true);
    store(jobId);
    setIsAsked(true);
  }

  return (
    <>
      <button type="button" aria-disabled={isAsked} onClick={() => void (isAsked || ask())}>
        {isAsked ? liveText.notified : liveText.notify}
      </button>
      {isBlocked && <span role="alert">{liveText.notifyBlocked}</span>}
    </>
  );
}

function show(job: Job) {
  try {
    // All pages of the job use one tag, so that the browser shows one notification.
    const notification = new Notification(liveText.ended(commonText.states[stateOf(job)]), {
      body: nameOf(job),
      tag: job.job_id,
    });
    notification.onclick = () => {
      window.focus();
      location.assign(`${pagesPath}/jobs/${job.job_id}`);
    };
  } catch {
    // Some browsers let only service workers notify. The title and the icon of the tab tell, too.
  }
}

function stored(jobId: string): boolean {
  try {
    return localStorage.getItem(PREFIX + jobId) !== null;
  } catch {
    return false;
  }
}

function store(jobId: string) {
  try {
    localStorage.setItem(PREFIX + jobId, "1");
  } catch {
    // Storage may be forbidden: then the reader is not notified.
  }
}

/** Return whether the reader is to be notified, and forget it. */
function forgotten(jobId: string): boolean {
  const isAsked = stored(jobId);
  if (isAsked) localStorage.removeItem(PREFIX + jobId);
  return isAsked;
}

/** Act on one page of the job only. Other pages may hear of its end later, and may still see what was stored. */
function once(jobId: string, act: () => void) {
  if (!navigator.locks) return act();
  void navigator.locks.request(PREFIX + jobId, { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    act();
    await new Promise((resolve) => setTimeout(resolve, OTHERS_HEAR_MS));
  });
}
