import { Link } from "wouter";
import { jobText } from "#text/job";
import type { Schemas } from "../../../api/client";
import type { Job } from "../../../live";
import { logPath } from "../links";
import styles from "./summary.module.css";

const SHOWN = 10;

/** What the job, its tools and the server remark on places in the project. */
export function Annotations({ job }: { job: Job }) {
  if (!job.annotations.length) return null;
  const rest = job.annotations.slice(SHOWN);
  return (
    <section>
      <h2>{jobText.annotations}</h2>
      <List job={job} annotations={job.annotations.slice(0, SHOWN)} />
      {rest.length > 0 && (
        <details>
          <summary>{jobText.annotationsMore(rest.length)}</summary>
          <List job={job} annotations={rest} />
        </details>
      )}
    </section>
  );
}

function List({ job, annotations }: { job: Job; annotations: Schemas["AnnotationView"][] }) {
  return (
    <ul className={styles.annotations}>
      {annotations.map((each, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: remarks may be the same, and never move.
        <li key={index} data-level={each.level}>
          <p>
            <strong className={styles.level}>{jobText.levels[each.level]}</strong>{" "}
            {each.file && <code>{jobText.line(each.file, each.line)}</code>}{" "}
            {each.tool && <span className="muted">{each.tool}</span>}
          </p>
          <p>
            {each.title && <strong>{each.title}: </strong>}
            <span className={styles.message}>{each.message}</span>
          </p>
          {each.log_offset !== null && <Link href={logPath(job.job_id, each.log_offset)}>{jobText.inLog}</Link>}
        </li>
      ))}
    </ul>
  );
}
