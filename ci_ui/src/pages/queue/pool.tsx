import { queueText } from "#text/queue";
import type { Schemas } from "../../api/client";
import { bytesWords } from "../../components/bytes";
import { type Column, DataTable } from "../../components/data_table";
import { Section } from "../../components/section";
import { Time } from "../../components/time";
import { usePool } from "./data";

type Kind = Schemas["PoolKindView"];

const KINDS: readonly Column<Kind>[] = [
  { name: queueText.image, shape: "name", cell: (kind) => kind.image ?? queueText.earlier },
  {
    name: queueText.network,
    cell: (kind) => kind.network !== null && (kind.network ? queueText.yes : queueText.no),
  },
  { name: queueText.limits, shape: "name", cell: (kind) => limitWords(kind.limits) },
  { name: queueText.counts, shape: "once", cell: (kind) => `${kind.waiting} / ${kind.starting} / ${kind.wanted}` },
  { name: queueText.lastUsed, shape: "once", cell: (kind) => kind.last_used && <Time at={kind.last_used} /> },
];

/** The containers that wait for jobs. */
export function PoolSection() {
  return (
    <Section title={queueText.pool} query={usePool()} empty={(pool) => isIdle(pool) && queueText.noPool}>
      {(pool) => (
        <>
          {pool.held_back !== null && (
            <p>
              <strong>{queueText.heldBack}</strong> {pool.held_back}
            </p>
          )}
          {pool.kinds.length > 0 && (
            <DataTable label={queueText.pool} columns={KINDS} rows={pool.kinds} keyOf={(kind) => kind.kind} />
          )}
        </>
      )}
    </Section>
  );
}

function isIdle(pool: Schemas["PoolView"]): boolean {
  return pool.kinds.length === 0 && (pool.size === 0 || pool.held_back === null);
}

const SIZES = ["memory", "log", "workspace"];

function limitWords(limits: Kind["limits"]): string {
  const words = Object.entries(limits ?? {}).flatMap(([name, value]) =>
    typeof value === "number" ? [`${name} ${SIZES.includes(name) ? bytesWords(value) : value}`] : [],
  );
  return words.length ? words.join(", ") : queueText.noLimits;
}
