import { jobText } from "#text/job";
import { Markdown } from "../../../components/markdown";
import type { Job } from "../../../live";
import { Annotations } from "./annotations";
import { Facts } from "./facts";
import { Failing } from "./failing";
import { Steps } from "./steps";
import styles from "./summary.module.css";
import { Verdict } from "./verdict";

/** How a job stands and why, what failed first, and what is known of it. */
export function SummaryTab({ job }: { job: Job }) {
  return (
    <div className={styles.columns}>
      <div className={styles.main}>
        <Verdict job={job} />
        <Failing job={job} />
        <Annotations job={job} />
        {job.summary && (
          <section>
            <h2>{jobText.said}</h2>
            <Markdown source={job.summary} />
          </section>
        )}
        <Steps job={job} />
      </div>
      <Facts job={job} />
    </div>
  );
}
