import { Link, useLocation, useSearch } from "wouter";
import { projectText } from "#text/project";
import { pagesPath } from "../../app/base";
import { useTitle } from "../../app/title";
import { CasesSections } from "./cases";
import { nameFrom, RANGES, rangeFrom, useSettings, useTrend } from "./data";
import { KeptSections } from "./kept";
import styles from "./project.module.css";
import { Quotas } from "./quotas";
import { TrendSections } from "./trend";

/** How a project goes. */
export default function ProjectPage() {
  // Only to be rendered again: the router decodes a part of the path, so a name is read from the address itself.
  useLocation();
  const name = nameFrom(location.pathname, `${pagesPath}/projects/`);
  return <Project key={name} name={name} />;
}

function Project({ name }: { name: string }) {
  useTitle(name);
  const range = rangeFrom(useSearch());
  const trend = useTrend(name, range);
  const settings = useSettings(name);
  const query = new URLSearchParams({ project: name });
  return (
    <>
      <p className={styles.back}>
        <Link href="/projects">{projectText.allProjects}</Link>
      </p>
      <h1 className={styles.title}>{name}</h1>
      {settings.data?.description && <p className={styles.description}>{settings.data.description}</p>}
      {settings.data === null && <p className="muted">{projectText.notCreated}</p>}
      <p className={styles.ways}>
        <Link href={`/?${query}`}>{projectText.toJobs}</Link>
        <Link href={`/compare?${query}`}>{projectText.toCompare}</Link>
        <Link href={`/settings?${query}`}>{projectText.toSettings}</Link>
      </p>
      <Ranges current={range} />
      <div className={styles.page}>
        <TrendSections trend={trend} />
        <CasesSections project={name} />
        {settings.data && <Quotas quotas={settings.data.quotas} />}
        <KeptSections project={name} />
      </div>
    </>
  );
}

function Ranges({ current }: { current: number }) {
  const [path] = useLocation();
  return (
    <nav className={styles.ranges} aria-label={projectText.range}>
      {RANGES.map((range) => (
        <Link
          key={range}
          href={range === RANGES[0] ? path : `${path}?jobs=${range}`}
          aria-current={range === current || undefined}
        >
          {projectText.lastJobs(range)}
        </Link>
      ))}
    </nav>
  );
}
