import type { ReactNode } from "react";
import { Link } from "wouter";
import { jobText } from "#text/job";
import { jobUrl } from "../../../api/client";
import { bytesWords } from "../../../components/bytes";
import { commandOf } from "../../../components/job_name";
import { Duration, durationWords, Time } from "../../../components/time";
import type { Job } from "../../../live";
import { jobPath } from "../links";
import styles from "./summary.module.css";

/** What is known of a job, as names and values. */
export function Facts({ job }: { job: Job }) {
  const words = jobText.fact;
  const command = commandOf(job.payload.command);
  return (
    <aside className={styles.facts} aria-labelledby="facts">
      <h2 id="facts">{jobText.facts}</h2>
      <dl>
        <Fact name={words.exit}>{job.exit_code}</Fact>
        <Fact name={words.result}>{job.result && <code>{job.result.slice(0, 2_000)}</code>}</Fact>
        <Fact name={words.command}>{command && <pre>{command}</pre>}</Fact>
        <Fact name={words.image}>{job.image && <code>{job.image}</code>}</Fact>
        <Fact name={words.services}>{servicesOf(job)}</Fact>
        <Fact name={words.environment}>{environmentOf(job)}</Fact>
        <Fact name={words.owner}>{job.owner}</Fact>
        <Fact name={words.project}>
          {job.project && <Link href={`/projects/${encodeURIComponent(job.project)}`}>{job.project}</Link>}
        </Fact>
        <Fact name={words.labels}>{labelsOf(job)}</Fact>
        <Fact name={words.submitted}>
          <Time at={job.submit_time} />
        </Fact>
        <Fact name={words.started}>{job.start_time && <Time at={job.start_time} />}</Fact>
        <Fact name={words.duration}>{job.start_time && <Duration from={job.start_time} to={job.end_time} />}</Fact>
        <Fact name={words.attempt}>{job.max_attempts > 1 && jobText.attemptOf(job.attempt, job.max_attempts)}</Fact>
        <Fact name={words.runtime}>{runtimeOf(job)}</Fact>
        <Fact name={words.priority}>{job.priority !== 0 && job.priority}</Fact>
        <Fact name={words.group}>{job.concurrency?.group}</Fact>
        <Fact name={words.trust}>{job.untrusted && jobText.untrusted}</Fact>
        <Fact name={words.upload}>{uploadOf(job)}</Fact>
        <Fact name={words.artifacts}>
          {job.artifact_totals && job.artifact_totals.number > 0 && (
            <Link href={jobPath(job.job_id, "artifacts")}>
              {jobText.artifactsOf(job.artifact_totals.number, bytesWords(job.artifact_totals.bytes))}
            </Link>
          )}
        </Fact>
        <Fact name={words.log}>{job.log_bytes !== null && bytesWords(job.log_bytes)}</Fact>
        <Fact name={words.caches}>{cachesOf(job)}</Fact>
        <Fact name={words.retryOf}>
          {job.retry_of && (
            <>
              <Link href={jobPath(job.retry_of)}>
                <code>{job.retry_of.slice(0, 8)}</code>
              </Link>
              {" · "}
              <Link href={`/compare?a=${job.retry_of}&b=${job.job_id}`}>{jobText.compare}</Link>
            </>
          )}
        </Fact>
        {Object.entries(job.outputs).map(([name, value]) => (
          <Fact key={name} name={jobText.output(name)}>
            <pre>{value}</pre>
          </Fact>
        ))}
      </dl>
    </aside>
  );
}

/** A name with its value; nothing where there is none. */
function Fact({ name, children }: { name: string; children: ReactNode }) {
  if (children === null || children === undefined || children === false || children === "") return null;
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function environmentOf(job: Job): ReactNode {
  if (!job.environment) return null;
  const key = job.environment.key.slice(0, 12);
  if (!job.environment.hit) return jobText.environmentMade(key);
  return jobText.environmentHit(key, durationWords((job.environment.age ?? 0) * 1_000));
}

function servicesOf(job: Job): ReactNode {
  const services = Object.entries(job.services);
  if (!services.length) return null;
  return (
    <ul className={styles.labels}>
      {services.map(([name, image]) => (
        <li key={name}>
          {name}: <code>{image}</code>{" "}
          <a href={jobUrl(job.job_id, `/services/${name}/log`)}>{jobText.serviceLog(name)}</a>
        </li>
      ))}
    </ul>
  );
}

function labelsOf(job: Job): ReactNode {
  const labels = Object.entries(job.labels);
  if (!labels.length) return null;
  return (
    <ul className={styles.labels}>
      {labels.map(([key, value]) => (
        <li key={key}>
          <Link href={`/?label=${encodeURIComponent(`${key}:${value}`)}`}>
            {key}:{value}
          </Link>
        </li>
      ))}
    </ul>
  );
}

function runtimeOf(job: Job): ReactNode {
  if (!job.runtime) return null;
  const runtime = (jobText.runtimes as Record<string, string>)[job.runtime] ?? job.runtime;
  return job.start_way && job.runtime === "docker" ? `${runtime} ${jobText.starts[job.start_way]}` : runtime;
}

function uploadOf(job: Job): ReactNode {
  const upload = job.payload.upload as { filename?: string; size?: number } | undefined;
  if (typeof upload?.size !== "number") return null;
  return upload.filename ? `${upload.filename}, ${bytesWords(upload.size)}` : bytesWords(upload.size);
}

function cachesOf(job: Job): ReactNode {
  if (!job.caches.length) return null;
  return (
    <ul className={styles.labels}>
      {job.caches.map((cache) => (
        <li key={cache.path}>
          <code>{cache.path}</code> {cache.restored_from ? jobText.cacheRestored : jobText.cacheMissed}
          {cache.saved ? `, ${jobText.cacheSaved}` : ""}
        </li>
      ))}
    </ul>
  );
}
