import { useLayoutEffect, useRef } from "react";
import { Link } from "wouter";
import { jobText } from "#text/job";
import type { Job } from "../../live";
import { LogView } from "../../log";
import styles from "./log_tab.module.css";

/** The log of a job, which opens where the address says, in the rest of the window. */
export default function LogTab({ job }: { job: Job }) {
  const pane = useRef<HTMLDivElement>(null);

  useLayoutEffect(() => {
    const element = pane.current;
    if (!element) return;
    const measure = () => {
      const begins = element.getBoundingClientRect().top + window.scrollY;
      element.style.setProperty("--begins", `${begins}px`);
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(document.body);
    return () => observer.disconnect();
  }, []);

  return (
    <>
      <p>
        <Link href={`/jobs/${job.job_id}/log`}>{jobText.log.whole}</Link>
      </p>
      <div className={styles.log} ref={pane}>
        <LogView job={job} />
      </div>
    </>
  );
}
