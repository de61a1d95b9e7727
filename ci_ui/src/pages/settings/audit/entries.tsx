import { Link } from "wouter";
import { auditText } from "#text/audit";
import type { Schemas } from "../../../api/client";
import { Time } from "../../../components/time";
import { Wide } from "../../../components/wide";
import styles from "./audit.module.css";
import { type FilterName, pageOf, withFilter } from "./query";

export type Entry = Schemas["AuditEntryView"];

interface Props {
  entries: Entry[];
  params: URLSearchParams;
  path: string;
}

/** Entries of the audit. Who has done something, and what, leads to the entries with the same. */
export function Entries({ entries, params, path }: Props) {
  const only = (name: FilterName, value: string) => (
    <Link href={`${path}?${withFilter(params, name, value)}`} title={auditText.only(value)}>
      {value}
    </Link>
  );
  return (
    <Wide label={auditText.entries}>
      <table className={styles.entries}>
        <thead>
          <tr>
            <th scope="col">{auditText.time}</th>
            <th scope="col">{auditText.actor}</th>
            <th scope="col">{auditText.action}</th>
            <th scope="col">{auditText.target}</th>
            <th scope="col">{auditText.outcome}</th>
            <th scope="col">{auditText.address}</th>
          </tr>
        </thead>
        <tbody>
          {entries.map((entry) => (
            <tr key={entry.number} data-outcome={entry.outcome}>
              <td className={styles.once}>
                <Time at={entry.time} />
              </td>
              <td>{only("actor", entry.actor)}</td>
              <td>{only("action", entry.action)}</td>
              <td>
                <Target target={entry.target} />
                {entry.project !== null && (
                  <div className="muted">
                    {auditText.project}: {only("project", entry.project)}
                  </div>
                )}
                <Details entry={entry} />
              </td>
              <td>
                <Outcome entry={entry} />
              </td>
              <td>{entry.address}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}

function Target({ target }: { target: string }) {
  const page = pageOf(target);
  return page ? <Link href={page}>{target}</Link> : target;
}

function Outcome({ entry }: { entry: Entry }) {
  return (
    <>
      <span className={styles.outcome}>{auditText.outcomes[entry.outcome]}</span>
      {entry.reason !== null && <div>{entry.reason}</div>}
      {entry.count > 1 && <div className="muted">{auditText.times(entry.count)}</div>}
    </>
  );
}

function Details({ entry }: { entry: Entry }) {
  return (
    <details>
      <summary>
        {auditText.details}
        <span className="hidden"> {entry.number}</span>
      </summary>
      <dl className={styles.details}>
        <dt>{auditText.number}</dt>
        <dd>{entry.number}</dd>
        <dt>{auditText.request}</dt>
        <dd>{entry.request}</dd>
        <dt>{auditText.key}</dt>
        <dd>{entry.key_id ?? auditText.noKey}</dd>
        <dt>{auditText.digest}</dt>
        <dd>{entry.digest}</dd>
      </dl>
    </details>
  );
}
