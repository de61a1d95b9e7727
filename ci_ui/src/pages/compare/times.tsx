import type { UseQueryResult } from "@tanstack/react-query";
import { compareText } from "#text/compare";
import { Bars } from "../../components/charts/bars";
import { Section } from "../../components/section";
import { durationWords } from "../../components/time";
import { Wide } from "../../components/wide";
import styles from "./compare.module.css";
import type { Job } from "./data";
import type { Pair } from "./pair";
import { type Times, timesOf } from "./stations";

/** How long the two jobs took from one station to the next, and in each step. */
export function TimesSection({ jobs }: { jobs: UseQueryResult<Pair<Job>> }) {
  const words = compareText;
  return (
    <Section title={words.times} query={jobs} empty={(pair) => !timesOf(pair).length && words.noTimes}>
      {(pair) => <TimesTable rows={timesOf(pair)} />}
    </Section>
  );
}

function TimesTable({ rows }: { rows: Times[] }) {
  const words = compareText;
  const most = Math.max(...rows.flatMap((row) => [row.before ?? 0, row.after ?? 0]));
  return (
    <Wide label={words.times}>
      <table>
        <thead>
          <tr>
            <th scope="col">{words.station}</th>
            <th scope="col">{words.before}</th>
            <th scope="col">{words.after}</th>
            <th scope="col">{words.difference}</th>
            <td className={styles.bars} />
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={`${row.step} ${row.name}`}>
              <th scope="row" className={styles.value}>
                {row.step ? words.step(row.name) : (words.stations[row.name] ?? row.name)}
              </th>
              <td className={styles.once}>{timeWords(row.before)}</td>
              <td className={styles.once}>{timeWords(row.after)}</td>
              <td className={styles.once}>{differenceWords(row)}</td>
              <td className={styles.bars}>
                <Bars most={most} parts={[row.before ?? 0]} />
                <Bars most={most} parts={[0, row.after ?? 0]} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}

function timeWords(milliseconds: number | null): string {
  if (milliseconds === null) return compareText.nothing;
  return milliseconds < 1_000 ? compareText.milliseconds(Math.round(milliseconds)) : durationWords(milliseconds);
}

function differenceWords({ before, after }: Times): string {
  if (before === null || after === null) return "";
  const difference = Math.round(after - before);
  if (!difference) return "";
  const words = timeWords(Math.abs(difference));
  return difference > 0 ? compareText.slower(words) : compareText.faster(words);
}
