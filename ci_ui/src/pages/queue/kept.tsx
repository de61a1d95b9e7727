import { keptText } from "#text/kept";
import { queueText } from "#text/queue";
import { useCaches, useEnvironments } from "../../api/kept";
import { bytesWords } from "../../components/bytes";
import { CachesTable, EnvironmentsTable } from "../../components/kept";
import { Section } from "../../components/section";

/** The prepared environments that are kept. */
export function EnvironmentsSection() {
  return (
    <Section
      title={keptText.environments}
      query={useEnvironments()}
      empty={(all) => !all.length && queueText.noEnvironments}
    >
      {(all) => (
        <>
          <p className="muted">{queueText.inAll(all.length, bytesWords(total(all)))}</p>
          <EnvironmentsTable environments={all} />
        </>
      )}
    </Section>
  );
}

/** The caches that are kept. */
export function CachesSection() {
  return (
    <Section title={keptText.caches} query={useCaches()} empty={(all) => !all.length && queueText.noCaches}>
      {(all) => (
        <>
          <p className="muted">{queueText.inAll(all.length, bytesWords(total(all)))}</p>
          <CachesTable caches={all} />
        </>
      )}
    </Section>
  );
}

function total(all: { bytes: number }[]): number {
  return all.reduce((sum, each) => sum + each.bytes, 0);
}
