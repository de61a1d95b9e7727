/** A part of the log that can be folded: lines `first` to `last`, counted from 1. */
export interface Section {
  key: string;
  first: number;
  last: number;
  /** Whether a row of its own stands above its first line; else its first line remains when it is folded. */
  hasHeader: boolean;
}

/** What stands at a place in the view. */
export type Item = { kind: "line"; line: number } | { kind: "header"; section: Section };

interface Stretch {
  /** The place of its first item, counted from 0. */
  place: number;
  /** Its first line; for a header, the line that follows it. */
  line: number;
  count: number;
  section: Section | null;
}

/** Which lines and headers stand at which places of the view, counted from 0, with some sections folded. */
export class Arrangement {
  private readonly stretches: Stretch[] = [];
  /** How many places there are. */
  readonly count: number = 0;

  constructor(
    readonly lines: number,
    sections: readonly Section[] = [],
    folded: ReadonlySet<string> = new Set(),
  ) {
    let place = 0;
    let line = 1;
    const add = (count: number, section: Section | null): void => {
      if (count <= 0) return;
      this.stretches.push({ place, line, count, section });
      place += count;
      if (!section) line += count;
    };
    for (const section of [...sections].sort((one, other) => one.first - other.first)) {
      if (section.first < line && section.first !== line) continue;
      add(section.first - line, null);
      if (section.hasHeader) add(1, section);
      if (!folded.has(section.key)) continue;
      if (!section.hasHeader) add(1, null);
      line = Math.max(line, section.last + 1);
    }
    add(lines - line + 1, null);
    this.count = place;
  }

  /** Return what stands at a place. */
  at(place: number): Item {
    const stretch = this.find((each) => each.place <= place);
    if (stretch?.section) return { kind: "header", section: stretch.section };
    return { kind: "line", line: stretch ? stretch.line + place - stretch.place : place + 1 };
  }

  /** Return the place of a line, or of what stands for it where it is folded. */
  placeOf(line: number): number {
    const stretch = this.find((each) => each.line <= line);
    if (!stretch) return Math.max(0, line - 1);
    return stretch.place + Math.min(line - stretch.line, stretch.count - 1);
  }

  /** Return the last stretch for which the condition, which is true of the first ones, is true. */
  private find(condition: (stretch: Stretch) => boolean): Stretch | undefined {
    let low = 0;
    let high = this.stretches.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const stretch = this.stretches[middle];
      if (stretch && condition(stretch)) low = middle + 1;
      else high = middle;
    }
    return this.stretches[low - 1];
  }
}
