import { Link } from "wouter";
import { compareText } from "#text/compare";
import { Section } from "../../components/section";
import { durationWords } from "../../components/time";
import { Wide } from "../../components/wide";
import { type Case, type ChangedCase, changedCases } from "./cases";
import styles from "./compare.module.css";
import { MOST_CASES, readCases } from "./data";
import { type Pair, usePair } from "./pair";

const SHOWN = 200;

/** The tests whose results differ. */
export function CasesSection({ jobs, state }: { jobs: Pair<string>; state: string }) {
  const cases = usePair(`cases ${state}`, jobs, readCases, { enabled: state !== "" });
  const words = compareText;
  const found = (pair: Pair<Case[]>) => changedCases(pair.before, pair.after);
  return (
    <Section title={words.cases} query={cases} empty={(pair) => !found(pair).length && words.noCases}>
      {(pair) => (
        <>
          {Math.max(pair.before.length, pair.after.length) >= MOST_CASES && <p>{words.cutCases(MOST_CASES)}</p>}
          <Cases jobs={jobs} found={found(pair)} />
        </>
      )}
    </Section>
  );
}

function Cases({ jobs, found }: { jobs: Pair<string>; found: ChangedCase[] }) {
  const words = compareText;
  return (
    <>
      <Wide label={words.cases}>
        <table>
          <thead>
            <tr>
              <th scope="col">{words.change}</th>
              <th scope="col">{words.test}</th>
              <th scope="col">{words.before}</th>
              <th scope="col">{words.after}</th>
            </tr>
          </thead>
          <tbody>
            {found.slice(0, SHOWN).map(({ change, before, after }) => (
              <tr key={`${change} ${(after ?? before)?.id}`}>
                <td className={styles.change} data-change={change}>
                  {words.caseChanges[change]}
                </td>
                <th scope="row" className={styles.value}>
                  {(after ?? before)?.name}
                  <div className="muted">{(after ?? before)?.class_name}</div>
                </th>
                <Result job={jobs.before} test={before} />
                <Result job={jobs.after} test={after} />
              </tr>
            ))}
          </tbody>
        </table>
      </Wide>
      {found.length > SHOWN && <p>{words.moreFiles(found.length - SHOWN)}</p>}
    </>
  );
}

function Result({ job, test }: { job: string; test: Case | undefined }) {
  if (!test) return <td className="muted">{compareText.nothing}</td>;
  const query = new URLSearchParams({ tab: "tests", test: test.id });
  return (
    <td className={styles.value}>
      <Link href={`/jobs/${job}?${query}`}>{compareText.statuses[test.status]}</Link>
      {test.seconds !== null && <span className="muted"> {durationWords(test.seconds * 1_000)}</span>}
    </td>
  );
}
