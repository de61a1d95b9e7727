import { timelineText } from "#text/timeline";
import { useNow } from "../../../app/clock";
import { durationWords } from "../../../components/time";
import type { Job } from "../../../live";
import { type Bar, barsOf } from "./bars";
import styles from "./timeline.module.css";

/** Where the time of a job went: a bar for each part of its way, and the same as a table. */
export default function TimelineTab({ job }: { job: Job }) {
  const now = useNow();
  const bars = barsOf(job);
  const first = bars[0]?.start ?? Date.parse(job.submit_time);
  const last = Math.max(first + 1, ...bars.map((bar) => bar.end ?? now));
  const words = timelineText;
  if (!bars.length) return <p className="muted">{words.none}</p>;
  return (
    <section>
      <p>{words.total(durationWords(last - first))}</p>
      <table className={styles.table}>
        <thead>
          <tr>
            <th scope="col">{words.part}</th>
            <th scope="col" className={styles.chart}>
              <span className={styles.scale}>
                <span>0 s</span>
                <span>{durationWords(last - first)}</span>
              </span>
            </th>
            <th scope="col">{words.begins}</th>
            <th scope="col">{words.takes}</th>
          </tr>
        </thead>
        <tbody>
          {bars.map((bar, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: parts may have the same name, and never move.
            <tr key={index} data-kind={bar.kind}>
              <th scope="row">{nameOf(bar)}</th>
              <td className={styles.chart}>
                <BarShape bar={bar} first={first} last={last} now={now} />
              </td>
              <td>{durationWords(Math.max(0, bar.start - first))}</td>
              <td>{durationWords(Math.max(0, (bar.end ?? now) - bar.start))}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <h2>{words.milestones}</h2>
      <table className={styles.milestones}>
        <thead>
          <tr>
            <th scope="col">{words.station}</th>
            <th scope="col">{words.time}</th>
            <th scope="col">{words.since}</th>
          </tr>
        </thead>
        <tbody>
          {job.timing.map(({ station, time }) => (
            <tr key={station}>
              <th scope="row">{(words.stations as Record<string, string>)[station] ?? station}</th>
              <td>{clock.format(new Date(time))}</td>
              <td>{durationWords(Math.max(0, Date.parse(time) - first))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});

function nameOf(bar: Bar): string {
  return bar.kind === "step" ? bar.name : ((timelineText.parts as Record<string, string>)[bar.name] ?? bar.name);
}

const WIDTH = 1_000;
const NARROWEST = 3;

function BarShape({ bar, first, last, now }: { bar: Bar; first: number; last: number; now: number }) {
  const scale = WIDTH / (last - first);
  const width = Math.max(NARROWEST, ((bar.end ?? now) - bar.start) * scale);
  const x = Math.min(Math.max(0, (bar.start - first) * scale), WIDTH - NARROWEST);
  return (
    <svg viewBox={`0 0 ${WIDTH} 16`} preserveAspectRatio="none" className={styles.bar} aria-hidden="true">
      <rect className={styles.lane} x="0" y="7.5" width={WIDTH} height="1" />
      <rect data-state={bar.state} data-kind={bar.kind} x={x} y="2" width={Math.min(width, WIDTH - x)} height="12" />
    </svg>
  );
}
