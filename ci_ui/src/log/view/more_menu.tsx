import { useId, useRef, useState } from "react";
import { logText } from "#text/log";
import { saveFile } from "../../components/save_file";
import type { LoggedAttempt } from "../attempt";
import { plainText } from "../bytes/scanner";
import { asMarkdown, copyText } from "../copying";
import { matchingLines } from "../search/searcher";
import type { SearchState } from "../search/use_search";
import type { OpenLog } from "../use_log";
import type { Target } from "../use_target";
import { hashOfRange, type LineRange } from "./target";
import styles from "./toolbar.module.css";

const MOST_COPIED_LINES = 200_000;

interface Props {
  attempt: LoggedAttempt;
  target: Target;
  log: OpenLog;
  search: SearchState;
  fold: ((all: boolean) => void) | null;
}

/** What is needed less often: copies of the selected lines, and the log as a file. */
export function MoreMenu({ attempt, target, log, search, fold }: Props) {
  const id = useId();
  const menu = useRef<HTMLDivElement>(null);
  const [said, setSaid] = useState("");
  const { range } = target;

  async function linesOf(selected: LineRange): Promise<string | null> {
    if (!log.client || selected.last - selected.first >= MOST_COPIED_LINES) return null;
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(await log.client.ask("bytes", selected));
  }

  async function copy(make: (selected: LineRange) => Promise<string | null>) {
    if (!range) return;
    const copied = await make(range).catch(() => null);
    setSaid(copied === null ? logText.tooLarge : (await copyText(copied)) ? logText.copied : logText.notCopied);
  }

  async function downloadMatching() {
    if (!log.extent) return;
    setSaid(logText.gathering);
    try {
      saveFile(await matchingLines(attempt.log.url, search.query, log.extent), `${attempt.log.jobId}-matches.log`);
      setSaid("");
    } catch {
      setSaid(logText.notGathered);
    }
  }

  const link = () => new URL(location.pathname + location.search + hashOfRange(range), location.href).href;
  const copies: [string, () => void][] = [
    [logText.copyLink, () => void copy(async () => link())],
    [logText.copyLines, () => void copy(linesOf)],
    [
      logText.copyMarkdown,
      () =>
        void copy(async (selected) => {
          const lines = await linesOf(selected);
          return lines === null
            ? null
            : asMarkdown(lines.split("\n").map(plainText).join("\n"), hashOfRange(selected).slice(1), link());
        }),
    ],
  ];
  return (
    <>
      <button type="button" popoverTarget={id} className={styles.more}>
        {logText.more}
      </button>
      <div ref={menu} id={id} popover="auto" className={styles.menu} onToggle={() => setSaid("")}>
        <p className="muted">{range ? logText.selected(range.last - range.first + 1) : logText.noSelection}</p>
        {copies.map(([name, act]) => (
          <button key={name} type="button" disabled={!range} onClick={act}>
            {name}
          </button>
        ))}
        <button type="button" disabled={!range} onClick={() => target.setRange(null)}>
          {logText.clearSelection}
        </button>
        {fold && (
          <>
            <button type="button" onClick={() => fold(true)}>
              {logText.foldAll}
            </button>
            <button type="button" onClick={() => fold(false)}>
              {logText.unfoldAll}
            </button>
          </>
        )}
        <a href={attempt.log.url} download={`${attempt.log.jobId}-${attempt.log.attempt}.log`}>
          {logText.download}
        </a>
        <button
          type="button"
          disabled={search.query.text === "" || search.fault !== null}
          onClick={() => void downloadMatching()}
        >
          {logText.downloadMatching}
        </button>
        <p role="status">{said}</p>
      </div>
    </>
  );
}
