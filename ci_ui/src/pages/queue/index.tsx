import { queueText } from "#text/queue";
import { useTitle } from "../../app/title";
import { JobsNow } from "./jobs_now";
import { CachesSection, EnvironmentsSection } from "./kept";
import { PoolSection } from "./pool";
import styles from "./queue.module.css";
import { StagesSection } from "./stages";
import { Summary } from "./summary";

/** What waits and runs now, and how the machine is that runs it. */
export default function QueuePage() {
  useTitle(queueText.title);
  return (
    <>
      <h1>{queueText.title}</h1>
      <p className="muted">{queueText.live}</p>
      <div className={styles.page}>
        <Summary />
        <JobsNow />
        <PoolSection />
        <EnvironmentsSection />
        <CachesSection />
        <StagesSection />
      </div>
    </>
  );
}
