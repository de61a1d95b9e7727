import { PLAIN, type Row, type Run, type Style } from "../rows";
import type { LogBytes } from "./log_bytes";
import { scanLine, styleAfter } from "./scanner";

/** Of a longer line only the beginning is read and shown, until it is asked for as a whole. */
const SHOWN_CHARACTERS = 4_000;
const READ_BYTES = 256 * 1024;
const READ_WHOLE_BYTES = 16 * 1024 * 1024;
/** Colours that were set so many bytes before a line still hold in it. */
const LOOK_BACK = 16 * 1024;
const ESCAPE = 27;
const LINE_FEED = 10;

interface Scanned {
  row: Row;
  /** The style that holds after it. */
  style: Style;
}

/** Makes rows of lines. */
export class RowReader {
  private readonly decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  private readonly whole = new Set<number>();

  constructor(private readonly log: LogBytes) {}

  /** Let the line be shown as a whole from now on. */
  showWhole(line: number): void {
    this.whole.add(line);
  }

  async rows(first: number, count: number): Promise<Row[]> {
    const last = Math.min(first + count - 1, this.log.extent.lines);
    if (last < first) return [];
    const start = await this.log.startOf(first);
    let style = await this.styleBefore(start);
    const rows: Row[] = [];
    for (let line = first, from = start; line <= last; line += 1) {
      const end = await this.log.startOf(line + 1);
      const limit = this.whole.has(line) ? READ_WHOLE_BYTES : READ_BYTES;
      const bytes = withoutLineFeed(await this.log.read(from, Math.min(end, from + limit)));
      const row = this.row(line, from, bytes, end - from, style);
      rows.push(row.row);
      style = row.style;
      from = end;
    }
    return rows;
  }

  private row(line: number, offset: number, bytes: Uint8Array, length: number, start: Style): Scanned {
    const text = this.decoder.decode(bytes);
    const { runs, style } = scanLine(text, start);
    const shown = this.whole.has(line) ? runs : cut(runs, SHOWN_CHARACTERS);
    const isCut = shown !== runs || length > bytes.length + 1;
    const only = runs.length === 1 && runs[0]?.text === text;
    return {
      row: {
        line,
        offset,
        runs: shown,
        source: only || isCut || text === "" ? null : text,
        hiddenBytes: isCut ? length : 0,
      },
      style,
    };
  }

  private async styleBefore(start: number): Promise<Style> {
    const from = Math.max(0, start - LOOK_BACK);
    if (from === start) return PLAIN;
    const bytes = await this.log.read(from, start);
    return bytes.includes(ESCAPE) ? styleAfter(this.decoder.decode(bytes), PLAIN) : PLAIN;
  }
}

function withoutLineFeed(bytes: Uint8Array): Uint8Array {
  return bytes.at(-1) === LINE_FEED ? bytes.subarray(0, -1) : bytes;
}

/** Return the beginning of the runs, or the runs themselves if they have no more than `most` characters. */
function cut(runs: Run[], most: number): Run[] {
  let left = most;
  for (let index = 0; index < runs.length; index += 1) {
    const run = runs[index];
    if (!run) break;
    if (run.text.length > left) {
      return [...runs.slice(0, index), { text: run.text.slice(0, left), style: run.style }];
    }
    left -= run.text.length;
  }
  return runs;
}
