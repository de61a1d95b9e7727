import { Link } from "wouter";
import { projectText } from "#text/project";
import type { Schemas } from "../../api/client";
import { Bars } from "../../components/charts/bars";
import { Section } from "../../components/section";
import { Time } from "../../components/time";
import { Wide } from "../../components/wide";
import { type Case, useTests } from "./data";
import { secondsWords } from "./points";
import styles from "./project.module.css";

/** The tests that need a look: those that fail, are flaky, or take longest. */
export function CasesSections({ project }: { project: string }) {
  const words = projectText;
  const none = (data: Schemas["ProjectTestsView"], otherwise: string) =>
    !data.tests.length && (data.runs ? otherwise : words.noTests);
  return (
    <>
      <Section
        title={words.failing}
        query={useTests(project, "failing")}
        empty={(data) => none(data, words.noFailing(data.runs))}
      >
        {(data) => <Unsteady label={words.failing} cases={data.tests} />}
      </Section>
      <Section
        title={words.flaky}
        query={useTests(project, "flaky")}
        empty={(data) => none(data, words.noFlaky(data.runs))}
      >
        {(data) => <Unsteady label={words.flaky} cases={data.tests} />}
      </Section>
      <Section title={words.slowest} query={useTests(project, "slowest")} empty={(data) => none(data, words.noTimes)}>
        {(data) => <Slowest cases={data.tests} />}
      </Section>
    </>
  );
}

function Unsteady({ label, cases }: { label: string; cases: Case[] }) {
  const words = projectText;
  return (
    <Wide label={label}>
      <table>
        <thead>
          <tr>
            <th scope="col">{words.test}</th>
            <th scope="col">{words.failedRuns}</th>
            <th scope="col">{words.flakyRuns}</th>
            <th scope="col">{words.lastResult}</th>
          </tr>
        </thead>
        <tbody>
          {cases.map((each) => (
            <tr key={each.id}>
              <td className={styles.name}>
                <CaseName test={each} />
              </td>
              <td className={styles.once}>{words.ofRuns(each.failed, each.runs)}</td>
              <td className={styles.once}>{words.ofRuns(each.flaky, each.runs)}</td>
              <td className={styles.name}>
                {words.statuses[each.last.status]}, <Time at={each.last.submit_time} />
                {each.last.message && <div className={styles.message}>{each.last.message}</div>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}

function Slowest({ cases }: { cases: Case[] }) {
  const words = projectText;
  const longest = Math.max(...cases.map((each) => each.longest_seconds));
  return (
    <Wide label={words.slowest}>
      <table>
        <thead>
          <tr>
            <th scope="col">{words.test}</th>
            <th scope="col">{words.mean}</th>
            <th scope="col">{words.longest}</th>
            <td className={styles.bars} />
          </tr>
        </thead>
        <tbody>
          {cases.map((each) => (
            <tr key={each.id}>
              <td className={styles.name}>
                <CaseName test={each} />
              </td>
              <td className={styles.once}>{each.mean_seconds !== null && secondsWords(each.mean_seconds)}</td>
              <td className={styles.once}>{secondsWords(each.longest_seconds)}</td>
              <td className={styles.bars}>
                <Bars most={longest} parts={[each.longest_seconds]} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}

/** A test, as a link to its last result. */
function CaseName({ test }: { test: Case }) {
  const query = new URLSearchParams({ tab: "tests", test: test.id });
  return (
    <>
      <Link href={`/jobs/${test.last.job_id}?${query}`}>{test.name}</Link>
      <div className="muted">{[test.suite, test.class_name].filter(Boolean).join(" · ")}</div>
    </>
  );
}
