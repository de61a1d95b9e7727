import { compareText } from "#text/compare";
import type { Schemas } from "../../api/client";
import { Section } from "../../components/section";
import { Wide } from "../../components/wide";
import styles from "./compare.module.css";
import { readReports } from "./data";
import { type Pair, usePair } from "./pair";

type Coverage = Schemas["CoverageView"];

const SHOWN = 50;

/** How much of the code the tests of the two jobs have run. */
export function CoverageSection({ jobs, state }: { jobs: Pair<string>; state: string }) {
  const reports = usePair(`reports ${state}`, jobs, readReports, { enabled: state !== "" });
  return (
    <Section
      title={compareText.coverage}
      query={reports}
      empty={(pair) => !(pair.before.coverage && pair.after.coverage) && compareText.noCoverage}
    >
      {({ before, after }) =>
        before.coverage && after.coverage && <Figures before={before.coverage} after={after.coverage} />
      }
    </Section>
  );
}

function Figures({ before, after }: Pair<Coverage>) {
  const words = compareText;
  const files = changed(before, after);
  return (
    <>
      <p>{words.coverageOf(percent(before.percent), percent(after.percent), signed(after.percent - before.percent))}</p>
      {!files.length && <p className="muted">{words.sameFiles}</p>}
      {files.length > 0 && (
        <Wide label={words.coverage}>
          <table>
            <thead>
              <tr>
                <th scope="col">{words.file}</th>
                <th scope="col">{words.before}</th>
                <th scope="col">{words.after}</th>
              </tr>
            </thead>
            <tbody>
              {files.slice(0, SHOWN).map((file) => (
                <tr key={file.path}>
                  <th scope="row" className={styles.value}>
                    {file.path}
                  </th>
                  <td>{file.before === undefined ? words.nothing : percent(file.before)}</td>
                  <td>{file.after === undefined ? words.nothing : percent(file.after)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      )}
      {files.length > SHOWN && <p>{words.moreFiles(files.length - SHOWN)}</p>}
    </>
  );
}

interface CoveredFile {
  path: string;
  before: number | undefined;
  after: number | undefined;
}

/** Return the files with another coverage, those first that have lost most. */
function changed(before: Coverage, after: Coverage): CoveredFile[] {
  const old = new Map(before.files.map((file) => [file.path, file.percent]));
  const next = new Map(after.files.map((file) => [file.path, file.percent]));
  const files = [...new Set([...old.keys(), ...next.keys()])].map((path) => ({
    path,
    before: old.get(path),
    after: next.get(path),
  }));
  const gain = (file: CoveredFile) => (file.after ?? 0) - (file.before ?? 0);
  return files.filter((file) => file.before !== file.after).sort((a, b) => gain(a) - gain(b));
}

function percent(value: number): string {
  return compareText.percent(value.toFixed(1));
}

function signed(value: number): string {
  return `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(value).toFixed(1)}`;
}
