import { keptText } from "#text/kept";
import { api, type Schemas, unwrap } from "../api/client";
import { CACHES, ENVIRONMENTS } from "../api/kept";
import { may, useSession } from "../app/session";
import { bytesWords } from "./bytes";
import { type Column, DataTable } from "./data_table";
import styles from "./kept.module.css";
import { JobLink, ProjectLink } from "./links";
import { RemoveButton } from "./remove_button";
import { durationWords, Time } from "./time";

type Environment = Schemas["EnvironmentView"];
type Cache = Schemas["CacheView"];

const project: Column<Environment | Cache> = {
  name: keptText.project,
  shape: "name",
  cell: (each) => <ProjectLink project={each.project} />,
};
const lastUsed: Column<Environment | Cache> = {
  name: keptText.lastUsed,
  shape: "once",
  cell: (each) => (
    <>
      <Time at={each.last_used} />, <JobLink id={each.job_id} />
    </>
  ),
};

const ENVIRONMENT: readonly Column<Environment>[] = [
  project,
  {
    name: keptText.image,
    shape: "name",
    cell: (each) => (
      <>
        {each.image}
        {each.pinned && <div className="muted">{keptText.pinned}</div>}
      </>
    ),
  },
  { name: keptText.setup, shape: "name", cell: (each) => <Setup setup={each.setup} /> },
  { name: keptText.size, shape: "once", cell: (each) => bytesWords(each.bytes) },
  { name: keptText.took, shape: "once", cell: (each) => durationWords(each.seconds * 1_000) },
  lastUsed,
  { name: null, cell: (each) => <RemoveEnvironment environment={each} /> },
];

const CACHE: readonly Column<Cache>[] = [
  project,
  { name: keptText.path, shape: "name", cell: (each) => <code>{each.path}</code> },
  { name: keptText.key, shape: "name", cell: (each) => <code>{each.key}</code> },
  {
    name: keptText.size,
    shape: "once",
    cell: (each) => (
      <>
        {bytesWords(each.bytes)} <span className="muted">{keptText.files(each.files)}</span>
      </>
    ),
  },
  lastUsed,
  { name: null, cell: (each) => <RemoveCache cache={each} /> },
];

/** Prepared environments, with a way to delete those that the reader may delete. */
export function EnvironmentsTable({ environments }: { environments: Environment[] }) {
  return (
    <DataTable label={keptText.environments} columns={ENVIRONMENT} rows={environments} keyOf={(each) => each.key} />
  );
}

/** Caches, with a way to delete those that the reader may delete. */
export function CachesTable({ caches }: { caches: Cache[] }) {
  return <DataTable label={keptText.caches} columns={CACHE} rows={caches} keyOf={(each) => each.id} />;
}

function Setup({ setup }: { setup: string }) {
  const lines = setup.trim().split("\n");
  const first = lines[0] ?? "";
  if (lines.length === 1 && first.length <= 60) return <code>{first}</code>;
  return (
    <details>
      <summary>
        <code>{first.slice(0, 60)}…</code>
      </summary>
      <pre className={styles.setup}>{setup}</pre>
    </details>
  );
}

function RemoveEnvironment({ environment: { key, image, project } }: { environment: Environment }) {
  if (!may(useSession().data, "caches:write", project)) return null;
  return (
    <RemoveButton
      name={keptText.removeEnvironment(image)}
      question={keptText.sureEnvironment}
      list={ENVIRONMENTS}
      remove={() => unwrap(api.DELETE("/environments/{key}", { params: { path: { key } } }))}
    />
  );
}

function RemoveCache({ cache: { id, path, project } }: { cache: Cache }) {
  if (!may(useSession().data, "caches:write", project)) return null;
  return (
    <RemoveButton
      name={keptText.removeCache(path)}
      question={keptText.sureCache}
      list={CACHES}
      remove={() => unwrap(api.DELETE("/caches/{id}", { params: { path: { id } } }))}
    />
  );
}
