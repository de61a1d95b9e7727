import { jobsText } from "#text/jobs";
import { Dialog } from "../../components/dialog";
import styles from "./jobs.module.css";

/** Lists the keys of the page. */
export function HelpDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title={jobsText.helpTitle} onClose={onClose}>
      <dl className={styles.keys}>
        {jobsText.keys.map(([key, meaning]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
