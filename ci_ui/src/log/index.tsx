import { type ReactNode, useCallback, useEffect, useMemo, useReducer, useRef, useState } from "react";
import { logText } from "#text/log";
import { Failure, Loading } from "../components/placeholders";
import { attemptOf, failedPart, type Job, type LoggedAttempt } from "./attempt";
import { copiedText } from "./copying";
import styles from "./log.module.css";
import { HitMarks, SearchBar } from "./search/bar";
import { clearHighlights, highlight } from "./search/highlights";
import { useSearch } from "./search/use_search";
import { useTimes, useTimesShown } from "./times/use_times";
import { useLog } from "./use_log";
import { stepKey, useArrangement, useSections } from "./use_sections";
import { useTarget } from "./use_target";
import { Arrangement } from "./view/arrangement";
import { Held } from "./view/held";
import { LineRow } from "./view/row";
import { StepRow } from "./view/step_row";
import type { LineRange } from "./view/target";
import { Toolbar } from "./view/toolbar";
import { ROW_HEIGHT, Viewer } from "./view/viewer";
import { Viewport } from "./view/viewport";

interface Props {
  job: Job;
  /** The attempt whose log is shown; by default the present one. */
  attempt?: number;
}

/** The log of a job: as high as the element that it stands in, but at least 20 lines. */
export function LogView({ job, attempt: number }: Props) {
  const attempt = useMemo(() => attemptOf(job, number), [job, number]);
  return <AttemptLog key={attempt.log.url} attempt={attempt} />;
}

const NO_LINES = new Arrangement(0);

/** The view stays at its beginning or end if the line where it should open cannot be found. */
const setAside = () => {};

function AttemptLog({ attempt }: { attempt: LoggedAttempt }) {
  const [, render] = useReducer((count: number) => count + 1, 0);
  const [viewer] = useState(() => new Viewer(NO_LINES, render));
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const [held] = useState(() => new Held());
  const isPlaced = useRef(false);
  const rowsElement = useRef<HTMLElement>(null);

  const log = useLog(
    attempt.log,
    useCallback(() => (viewer.follows || !isPlaced.current ? viewer.capacity + 20 : 0), [viewer]),
  );
  const lines = log.extent?.lines ?? 0;
  const sections = useSections(log.client, attempt.steps, log.extent);
  const arrangement = useArrangement(lines, sections, folded);
  const arranged = useRef(arrangement);
  const shown = useRef<Arrangement>(NO_LINES);
  arranged.current = arrangement;

  /** A line that is to be seen as soon as its section has been unfolded. */
  const pending = useRef<number | null>(null);
  const foldedNow = useRef({ folded, sections });
  foldedNow.current = { folded, sections };
  const goToLine = useCallback(
    (line: number, gently = false) => {
      const hides = foldedNow.current.sections.filter(
        ({ key, first, last }) => foldedNow.current.folded.has(key) && first <= line && line <= last,
      );
      if (hides.length === 0) viewer.goTo(arranged.current.placeOf(line), gently);
      else {
        pending.current = line;
        setFolded((now) => new Set([...now].filter((key) => !hides.some((section) => section.key === key))));
      }
    },
    [viewer],
  );
  const target = useTarget(useCallback((range: LineRange) => goToLine(range.first), [goToLine]));

  useEffect(() => {
    if (shown.current !== arrangement) {
      held.forget();
      viewer.arrange(arrangement);
    }
    shown.current = arrangement;
    if (pending.current !== null) viewer.goTo(arrangement.placeOf(pending.current));
    pending.current = null;
  }, [arrangement, viewer, held]);

  const { client, extent, want } = log;
  const { setRange } = target;
  const search = useSearch(
    attempt.log.url,
    extent,
    useCallback(() => lineAt(arranged.current, viewer.place, "first"), [viewer]),
    useCallback(
      (line: number) => {
        setRange({ first: line, last: line });
        goToLine(line, true);
      },
      [goToLine, setRange],
    ),
  );
  useEffect(() => clearHighlights, []);
  const findInput = useRef<HTMLInputElement>(null);
  const focusLog = useCallback(
    () => rowsElement.current?.closest<HTMLElement>("[role=region]")?.focus({ preventScroll: true }),
    [],
  );
  const hasSteps = sections.length === attempt.steps.length;
  useEffect(() => {
    if (!client || !extent || isPlaced.current || !hasSteps) return;
    isPlaced.current = true;
    if (document.activeElement === document.body || document.activeElement?.id === "main") {
      focusLog();
    }
    const address = new URLSearchParams(location.search);
    const number = attempt.steps.findIndex((each) => each.name === address.get("step"));
    const at = Number.parseInt(address.get("at") ?? "", 10);
    if (target.range) goToLine(target.range.first);
    else if (at >= 0) client.ask("linesAt", { offsets: [at] }).then(([line]) => line && goToLine(line), setAside);
    else if (number >= 0) goToLine(sections[number]?.first ?? 1);
    else if (!attempt.failed) viewer.toEnd();
    else {
      viewer.toEnd();
      const part = failedPart(attempt, extent.bytes);
      const found =
        attempt.errorOffset === null
          ? client.ask("failure", part)
          : client.ask("linesAt", { offsets: [attempt.errorOffset] }).then(([line]) => line ?? 1);
      found.then(goToLine, setAside);
    }
  }, [client, extent, hasSteps, attempt, sections, target.range, viewer, goToLine, focusLog]);

  const isRead = ({ place }: { place: number }) => {
    for (let at = place; at < Math.min(arrangement.count, place + viewer.capacity); at += 1) {
      const item = arrangement.at(at);
      if (item.kind === "line" && !log.row(item.line)) return false;
    }
    return true;
  };
  if (viewer.wraps || viewer.follows) held.forget();
  viewer.held = viewer.wraps || viewer.follows ? null : held.instead(viewer, isRead, performance.now());
  const { first, end } = viewer.window;
  const firstItem = arrangement.at(first);
  const lastItem = arrangement.at(Math.max(first, end - 1));
  const from = firstItem.kind === "line" ? firstItem.line : firstItem.section.first;
  const to = Math.min(
    lines,
    from + 2 * (end - first),
    lastItem.kind === "line" ? lastItem.line : lastItem.section.last,
  );
  useEffect(() => want(from, to));
  const hasTimes = useTimesShown();
  const times = useTimes(attempt.log.jobId, attempt.log.attempt, log, from, to);

  const showWhole = useCallback(
    (line: number) => {
      void client?.ask("whole", { line }).then(() => log.forget(line));
    },
    [client, log.forget],
  );
  const toggle = (key: string) =>
    setFolded((now) => {
      const next = new Set(now);
      if (!next.delete(key)) next.add(key);
      return next;
    });

  const path = location.pathname + location.search;
  const renderPlace = (place: number): ReactNode => {
    const item = arrangement.at(place);
    if (item.kind === "header") {
      const { key } = item.section;
      const step = attempt.steps.find((_, index) => stepKey(index) === key);
      return step && <StepRow key={key} step={step} isFolded={folded.has(key)} toggle={() => toggle(key)} />;
    }
    const { line } = item;
    const isSelected = target.range !== null && line >= target.range.first && line <= target.range.last;
    const time = hasTimes ? times.of(line) : undefined;
    return <LineRow key={line} {...{ line, path, isSelected, time, showWhole }} row={log.row(line)} />;
  };

  if (log.error && !extent) return <Failure error={log.error} retry={log.retry} />;
  if (!extent) return <Loading />;
  if (extent.bytes === 0 && arrangement.count === 0) {
    return <p className="muted">{extent.complete ? logText.empty : logText.notYet}</p>;
  }
  return (
    <section
      className={styles.view}
      aria-label={logText.title}
      onKeyDown={(event) => {
        if (event.key.toLowerCase() === "f" && (event.ctrlKey || event.metaKey)) {
          // A second time the browser's own search opens, for those who want that.
          if (document.activeElement === findInput.current) return;
          findInput.current?.focus();
          findInput.current?.select();
        } else if (event.key === "F3") search.step(event.shiftKey ? -1 : 1);
        else return;
        event.preventDefault();
      }}
    >
      <Toolbar
        {...{ attempt, viewer, target, goToLine, log, search }}
        find={<SearchBar search={search} input={findInput} leave={focusLog} />}
        position={visibleLines(arrangement, viewer)}
        fold={
          attempt.steps.length > 1
            ? (all) => setFolded(all ? new Set(sections.map(({ key }) => key)) : new Set())
            : null
        }
      />
      <Viewport
        viewer={viewer}
        digits={String(lines).length}
        hasTimes={hasTimes}
        label={logText.region}
        marks={<HitMarks search={search} lines={lines} />}
        render={renderPlace}
        onRendered={(element) => {
          rowsElement.current = element;
          highlight(element, search);
        }}
        onClick={(event) => {
          const link = (event.target as Element).closest<HTMLElement>("a[data-number]");
          if (!link || event.ctrlKey || event.metaKey) return;
          event.preventDefault();
          target.select(Number(link.dataset.number), event.shiftKey);
        }}
        onCopy={(event) => {
          const selection = getSelection();
          const copied = rowsElement.current && selection && copiedText(rowsElement.current, selection, log.row);
          if (!copied) return;
          event.clipboardData.setData("text/plain", copied);
          event.preventDefault();
        }}
        onKeyDown={(event) => {
          if (event.key === "Escape" && target.range) target.setRange(null);
          else if (event.key === "End" && !event.shiftKey) viewer.toEnd();
          else return;
          event.preventDefault();
        }}
      />
    </section>
  );
}

function visibleLines(arrangement: Arrangement, viewer: Viewer): LineRange {
  const below = Math.ceil((viewer.offset + viewer.height) / ROW_HEIGHT);
  const last = Math.max(0, Math.min(arrangement.count, viewer.place + below) - 1);
  return {
    first: lineAt(arrangement, Math.min(viewer.place, last), "first"),
    last: lineAt(arrangement, last, "last"),
  };
}

/** Return the line at a place, or for a header one of its lines. */
function lineAt(arrangement: Arrangement, place: number, end: "first" | "last"): number {
  const item = arrangement.at(place);
  return item.kind === "line" ? item.line : item.section[end];
}
