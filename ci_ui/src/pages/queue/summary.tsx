import { queueText } from "#text/queue";
import { bytesWords } from "../../components/bytes";
import { Meter } from "../../components/charts/meter";
import { Section } from "../../components/section";
import { Tile, Tiles } from "../../components/tiles";
import { type Metrics, type Queue, useMetrics, useQueue } from "./data";
import styles from "./queue.module.css";

/** The numbers that say at a glance how the machine is. */
export function Summary() {
  const metrics = useMetrics();
  const queue = useQueue();
  return (
    <Section title={queueText.now} query={metrics}>
      {(data) => (
        <>
          {metrics.isError && <p className={styles.problem}>{queueText.stale(metrics.error.message)}</p>}
          <Numbers metrics={data} slots={queue.data?.slots} />
        </>
      )}
    </Section>
  );
}

function Numbers({ metrics, slots }: { metrics: Metrics; slots: Queue["slots"] | undefined }) {
  const words = queueText;
  return (
    <Tiles>
      <Tile name={words.running}>
        <dd>{metrics.running}</dd>
        {slots && (
          <>
            <dd className="muted">{words.slots(slots.used, slots.total)}</dd>
            <dd>
              <Meter value={slots.used} limit={slots.total} />
            </dd>
          </>
        )}
      </Tile>
      <Tile name={words.waiting}>
        <dd>{metrics.queued}</dd>
        {metrics.starting > 0 && <dd className="muted">{words.starting(metrics.starting)}</dd>}
      </Tile>
      <Tile name={words.controller} warning={!metrics.controller_leads}>
        <dd>{metrics.controller_leads ? words.leads : words.noController}</dd>
      </Tile>
      <Tile name={words.warm}>
        <dd>{words.ofSize(metrics.pool_waiting, metrics.pool_size)}</dd>
        {metrics.pool_starting > 0 && <dd className="muted">{words.prepared(metrics.pool_starting)}</dd>}
        {metrics.pool_size > 0 && (
          <dd>
            <Meter value={metrics.pool_waiting} limit={metrics.pool_size} />
          </dd>
        )}
      </Tile>
      {disksOf(metrics).map(({ free, size, reserve, paths }) => (
        <Tile key={paths[0]} name={words.disk} warning={free < reserve}>
          <dd>{words.ofDisk(bytesWords(free), bytesWords(size))}</dd>
          <dd>
            <Meter value={size - free} limit={size} />
          </dd>
          {reserve > 0 && (
            <dd className="muted">{(free < reserve ? words.diskLow : words.reserve)(bytesWords(reserve))}</dd>
          )}
          {paths.map((path) => (
            <dd key={path} className={`muted ${styles.path}`}>
              {path}
            </dd>
          ))}
        </Tile>
      ))}
      <Tile name={words.uploads}>
        <dd>{words.uploadsNow(metrics.uploads, metrics.log_streams)}</dd>
        {metrics.pending_removals > 0 && <dd className="muted">{words.removals(metrics.pending_removals)}</dd>}
      </Tile>
    </Tiles>
  );
}

interface DiskOf {
  free: number;
  size: number;
  reserve: number;
  paths: string[];
}

/** Return the disks: paths with exactly the same free space are on one. */
function disksOf(metrics: Metrics): DiskOf[] {
  const disks = new Map<number, DiskOf>();
  for (const [path, free] of Object.entries(metrics.disk_free_bytes)) {
    const [size, reserve] = [metrics.disk_size_bytes[path] ?? 0, metrics.disk_reserve_bytes[path] ?? 0];
    const known = disks.get(free);
    if (known) known.paths.push(path);
    else disks.set(free, { free, size, reserve, paths: [path] });
  }
  return [...disks.values()];
}
