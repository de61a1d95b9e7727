import { useState } from "react";
import { useLocation, useSearch } from "wouter";
import { projectsText } from "#text/projects";
import { useTitle } from "../../app/title";
import { Empty, Failure, Loading } from "../../components/placeholders";
import { Wide } from "../../components/wide";
import { useNames } from "./data";
import styles from "./projects.module.css";
import { Row } from "./row";

const PAGE = 25;

/** The projects that the reader may see, and how the last jobs of each went. */
export default function ProjectsPage() {
  useTitle(projectsText.title);
  const names = useNames();
  return (
    <>
      <h1>{projectsText.title}</h1>
      {names.isPending && <Loading />}
      {names.isError && !names.data && <Failure error={names.error} retry={() => void names.refetch()} />}
      {names.data?.length === 0 && (
        <Empty title={projectsText.empty}>
          <p>
            {projectsText.emptyHint} <code>ci run . --project website</code>
          </p>
        </Empty>
      )}
      {names.data && names.data.length > 0 && <Found names={names.data} />}
    </>
  );
}

function Found({ names }: { names: string[] }) {
  const [path, navigate] = useLocation();
  const query = new URLSearchParams(useSearch()).get("q") ?? "";
  const found = names.filter((name) => name.toLowerCase().includes(query.toLowerCase()));
  const search = (wanted: string) =>
    navigate(wanted ? `${path}?${new URLSearchParams({ q: wanted })}` : path, { replace: true });
  return (
    <>
      <label className={styles.search}>
        {projectsText.search}
        <input type="search" defaultValue={query} onChange={(event) => search(event.target.value)} />
      </label>
      {found.length ? <Table key={query} names={found} /> : <p>{projectsText.noneFound}</p>}
      <p className="muted">
        {projectsText.basis} {projectsText.recent}
      </p>
    </>
  );
}

function Table({ names }: { names: string[] }) {
  const [shown, setShown] = useState(PAGE);
  const left = names.length - shown;
  return (
    <>
      <Wide label={projectsText.title}>
        <table>
          <thead>
            <tr>
              <th scope="col">{projectsText.name}</th>
              <th scope="col">{projectsText.last}</th>
              <th scope="col">{projectsText.when}</th>
              <th scope="col">{projectsText.success}</th>
              <th scope="col">{projectsText.median}</th>
              <th scope="col">{projectsText.trend}</th>
            </tr>
          </thead>
          <tbody>
            {names.slice(0, shown).map((name) => (
              <Row key={name} name={name} />
            ))}
          </tbody>
        </table>
      </Wide>
      {left > 0 && (
        <button type="button" onClick={() => setShown(shown + PAGE)}>
          {projectsText.showMore(Math.min(left, PAGE))}
        </button>
      )}
    </>
  );
}
