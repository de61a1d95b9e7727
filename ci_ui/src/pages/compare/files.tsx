import type { UseQueryResult } from "@tanstack/react-query";
import { compareText } from "#text/compare";
import { bytesWords } from "../../components/bytes";
import { Section } from "../../components/section";
import { Wide } from "../../components/wide";
import styles from "./compare.module.css";
import { type Record, readArtifacts } from "./data";
import { changedFiles } from "./differences";
import { type Pair, usePair } from "./pair";

const SHOWN = 200;

interface File {
  path: string;
  size: number;
  sha256: string;
}

/** The files of the uploads that differ. */
export function FilesSection({ records }: { records: UseQueryResult<Pair<Record>> }) {
  const words = compareText;
  const nothing = ({ before, after }: Pair<Record>) => {
    if (before.run.upload?.sha256 === after.run.upload?.sha256) return words.noFiles;
    return (!before.files || !after.files) && words.filesUnknown;
  };
  return (
    <Section title={words.files} query={records} empty={nothing}>
      {({ before, after }) => <Files label={words.files} before={before.files ?? []} after={after.files ?? []} />}
    </Section>
  );
}

/** The artifacts that differ. */
export function ArtifactsSection({ jobs, state }: { jobs: Pair<string>; state: string }) {
  const artifacts = usePair(`artifacts ${state}`, jobs, readArtifacts, { enabled: state !== "" });
  const words = compareText;
  return (
    <Section
      title={words.artifacts}
      query={artifacts}
      empty={({ before, after }) => !changedFiles(before.artifacts, after.artifacts).length && words.noArtifacts}
    >
      {({ before, after }) => <Files label={words.artifacts} before={before.artifacts} after={after.artifacts} />}
    </Section>
  );
}

function Files({ label, before, after }: Pair<File[]> & { label: string }) {
  const words = compareText;
  const found = changedFiles(before, after);
  return (
    <>
      <Wide label={label}>
        <table>
          <thead>
            <tr>
              <th scope="col">{words.change}</th>
              <th scope="col">{words.file}</th>
              <th scope="col">{words.size}</th>
            </tr>
          </thead>
          <tbody>
            {found.slice(0, SHOWN).map((each) => (
              <tr key={each.path}>
                <td>{words.changes[each.change]}</td>
                <th scope="row" className={styles.value}>
                  {each.path}
                </th>
                <td>{sizesOf(each.before, each.after)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Wide>
      {found.length > SHOWN && <p>{words.moreFiles(found.length - SHOWN)}</p>}
    </>
  );
}

function sizesOf(before: File | undefined, after: File | undefined): string {
  const sizes = [before, after].flatMap((file) => (file ? [bytesWords(file.size)] : []));
  const [one, other] = sizes;
  return one !== undefined && other !== undefined ? compareText.sizes(one, other) : (one ?? "");
}
