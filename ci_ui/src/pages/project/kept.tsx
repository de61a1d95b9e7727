import { keptText } from "#text/kept";
import { projectText } from "#text/project";
import { useCaches, useEnvironments } from "../../api/kept";
import { CachesTable, EnvironmentsTable } from "../../components/kept";
import { Section } from "../../components/section";

/** The prepared environments and the caches of a project. */
export function KeptSections({ project }: { project: string }) {
  const ofProject = <Kept extends { project: string | null }>(all: Kept[]) =>
    all.filter((each) => each.project === project);
  return (
    <>
      <Section
        title={keptText.environments}
        query={useEnvironments()}
        empty={(all) => !ofProject(all).length && projectText.noEnvironments}
      >
        {(all) => <EnvironmentsTable environments={ofProject(all)} />}
      </Section>
      <Section
        title={keptText.caches}
        query={useCaches()}
        empty={(all) => !ofProject(all).length && projectText.noCaches}
      >
        {(all) => <CachesTable caches={ofProject(all)} />}
      </Section>
    </>
  );
}
