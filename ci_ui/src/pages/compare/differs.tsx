import type { UseQueryResult } from "@tanstack/react-query";
import { compareText } from "#text/compare";
import { bytesWords } from "../../components/bytes";
import { Section } from "../../components/section";
import { Wide } from "../../components/wide";
import styles from "./compare.module.css";
import type { Record } from "./data";
import { type Difference, differences } from "./differences";
import type { Pair } from "./pair";

const LONGEST = 160;
const SIZES = ["peak_memory", "read_bytes", "written_bytes", "received_bytes", "sent_bytes", "size", "bytes"];

/** What the records of the two jobs do not have in common. */
export function DifferencesSection({ records }: { records: UseQueryResult<Pair<Record>> }) {
  const found = (pair: Pair<Record>) => differences({ ...pair.before.run }, { ...pair.after.run });
  return (
    <Section
      title={compareText.differences}
      query={records}
      empty={(pair) => !found(pair).length && compareText.noDifferences}
    >
      {(pair) => <Differences found={found(pair)} />}
    </Section>
  );
}

function Differences({ found }: { found: Difference[] }) {
  const words = compareText;
  return (
    <Wide label={words.differences}>
      <table className={styles.sides}>
        <thead>
          <tr>
            <th scope="col">{words.part}</th>
            <th scope="col">{words.what}</th>
            <th scope="col">{words.before}</th>
            <th scope="col">{words.after}</th>
          </tr>
        </thead>
        <tbody>
          {found.map((each) => (
            <tr key={`${each.part} ${each.name}`}>
              <td>{words.parts[each.part] ?? each.part}</td>
              <th scope="row" className={styles.value}>
                {each.name}
              </th>
              <td className={styles.value}>
                <Value name={each.name} value={each.before} />
              </td>
              <td className={styles.value}>
                <Value name={each.name} value={each.after} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}

function Value({ name, value }: { name: string; value: unknown }) {
  if (value === null || value === undefined) return <span className="muted">{compareText.nothing}</span>;
  if (typeof value === "number") return <>{SIZES.includes(name) ? bytesWords(value) : value.toLocaleString()}</>;
  const words = typeof value === "string" ? value : JSON.stringify(value, null, 1);
  if (words.length <= LONGEST) return <code className={styles.text}>{words}</code>;
  return (
    <details>
      <summary>
        <code>{words.slice(0, LONGEST)}…</code>
      </summary>
      <pre className={styles.text}>{words}</pre>
    </details>
  );
}
