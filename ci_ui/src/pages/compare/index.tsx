import { useSearch } from "wouter";
import { compareText } from "#text/compare";
import { useTitle } from "../../app/title";
import { Failure } from "../../components/placeholders";
import { CasesSection } from "./changed_cases";
import { Chooser } from "./chooser";
import styles from "./compare.module.css";
import { CoverageSection } from "./coverage";
import { hasEnded, readJob, readRecord } from "./data";
import { DifferencesSection } from "./differs";
import { ArtifactsSection, FilesSection } from "./files";
import { JobsSection } from "./jobs";
import { type Pair, usePair } from "./pair";
import { TimesSection } from "./times";

const SHOWN = 8;

/** Two jobs side by side, which the query names as `a` and `b`. Without them they are chosen. */
export default function ComparePage() {
  const query = new URLSearchParams(useSearch());
  const [before, after] = [query.get("a") ?? "", query.get("b") ?? ""];
  const chosen = before !== "" && after !== "";
  useTitle(chosen ? compareText.titled(before.slice(-SHOWN), after.slice(-SHOWN)) : compareText.title);
  return (
    <>
      <h1>{compareText.title}</h1>
      <Chooser key={`${before} ${after}`} before={before} after={after} project={query.get("project")} />
      {chosen ? <Comparison key={`of ${before} ${after}`} jobs={{ before, after }} /> : <p>{compareText.chooseHint}</p>}
    </>
  );
}

function Comparison({ jobs }: { jobs: Pair<string> }) {
  const shown = usePair("jobs", jobs, readJob, { isFinal: hasEnded });
  const records = usePair("records", jobs, readRecord, { isFinal: (record) => record.sha256 !== null });
  // The rest waits for the records, and is read again when a job has ended.
  const ended = records.data
    ? `${records.data.before.sha256} ${records.data.after.sha256}`
    : records.isError
      ? "without records"
      : "";
  if (shown.isError && !shown.data) return <Failure error={shown.error} retry={() => void shown.refetch()} />;
  return (
    <div className={styles.page}>
      <JobsSection jobs={shown} records={records} />
      <DifferencesSection records={records} />
      <CasesSection jobs={jobs} state={ended} />
      <CoverageSection jobs={jobs} state={ended} />
      <TimesSection jobs={shown} />
      <FilesSection records={records} />
      <ArtifactsSection jobs={jobs} state={ended} />
    </div>
  );
}
