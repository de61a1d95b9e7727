import { Link } from "wouter";
import { commonText } from "#text/common";
import styles from "./links.module.css";

const SHOWN = 8;

/** A link to a job, by the beginning of its id. */
export function JobLink({ id }: { id: string }) {
  return (
    <Link href={`/jobs/${encodeURIComponent(id)}`} title={id}>
      <code>{id.slice(-SHOWN)}</code>
    </Link>
  );
}

/** A link to a project, or a word for none. */
export function ProjectLink({ project }: { project: string | null }) {
  if (project === null) return <span className="muted">{commonText.noProject}</span>;
  return (
    <Link href={`/projects/${encodeURIComponent(project)}`} className={styles.project} title={project}>
      {project}
    </Link>
  );
}
