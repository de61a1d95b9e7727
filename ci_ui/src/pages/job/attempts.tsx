import type { ReactNode } from "react";
import { attemptsText } from "#text/attempts";
import { jobText } from "#text/job";
import { jobUrl, type Schemas } from "../../api/client";
import { bytesWords } from "../../components/bytes";
import { StateBadge, stateOf } from "../../components/state";
import { Duration, Time } from "../../components/time";
import { Wide } from "../../components/wide";
import type { Job } from "../../live";

/** All attempts of a job, the present one first. */
export default function AttemptsTab({ job }: { job: Job }) {
  const words = attemptsText;
  return (
    <section>
      <p>{words.number(job.attempt, job.max_attempts)}</p>
      <Wide label={jobText.tabs.attempts}>
        <table>
          <thead>
            <tr>
              <th scope="col">{words.attempt}</th>
              <th scope="col">{jobText.state}</th>
              <th scope="col">{words.reason}</th>
              <th scope="col">{jobText.fact.exit}</th>
              <th scope="col">{jobText.fact.started}</th>
              <th scope="col">{jobText.duration}</th>
              <th scope="col">{jobText.fact.log}</th>
            </tr>
          </thead>
          <tbody>
            <Row job={job} run={job} attempt={job.attempt} badge={<StateBadge state={stateOf(job)} />} />
            {job.attempts.toReversed().map((each) => (
              <Row
                key={each.attempt}
                job={job}
                run={each}
                attempt={each.attempt}
                badge={<StateBadge state={each.conclusion} />}
              />
            ))}
          </tbody>
        </table>
      </Wide>
    </section>
  );
}

type Run = Pick<Schemas["AttemptView"], "reason" | "exit_code" | "start_time" | "end_time"> & {
  log_bytes: number | null;
};

function Row({ job, run, attempt, badge }: { job: Job; run: Run; attempt: number; badge: ReactNode }) {
  return (
    <tr>
      <th scope="row">{attempt}</th>
      <td>{badge}</td>
      <td>{run.reason?.message}</td>
      <td>{run.exit_code}</td>
      <td>{run.start_time && <Time at={run.start_time} />}</td>
      <td>{run.start_time && <Duration from={run.start_time} to={run.end_time} />}</td>
      <td>
        {run.log_bytes !== null && (
          <a href={`${jobUrl(job.job_id, "/log")}?attempt=${attempt}`}>{bytesWords(run.log_bytes)}</a>
        )}
      </td>
    </tr>
  );
}
