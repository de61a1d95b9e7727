import { type ReactNode, useLayoutEffect, useRef } from "react";
import { ROW_HEIGHT, type Viewer } from "./viewer";
import styles from "./viewport.module.css";

/** Of a time such as `08:05:09.4`, and a space. */
const TIME_WIDTH = "11ch";

interface Props {
  viewer: Viewer;
  /** How many digits the largest line number has. */
  digits: number;
  /** Whether lines have their times beside them. */
  hasTimes: boolean;
  label: string;
  /** What marks the scroll bar. */
  marks: ReactNode;
  /** Renders what stands at a place. */
  render(place: number): ReactNode;
  onKeyDown(event: React.KeyboardEvent): void;
  onClick(event: React.MouseEvent): void;
  onCopy(event: React.ClipboardEvent): void;
  /** Called with the element of the rows after each rendering. */
  onRendered(rows: HTMLElement): void;
}

/** The window through which the log is seen: only visible rows are elements. */
export function Viewport({ viewer, digits, hasTimes, label, marks, render, onRendered, ...handlers }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useRef<HTMLDivElement>(null);
  const spacer = useRef<HTMLDivElement>(null);
  const widest = useRef(0);

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element || !rows.current) return;
    viewer.attach({ scroller: element, rows: rows.current });
    const measure = () => viewer.resize(element.clientHeight);
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [viewer]);

  const { rendered } = viewer;
  useLayoutEffect(() => {
    if (!rows.current || !spacer.current) return;
    if (viewer.wraps) widest.current = 0;
    else
      for (const each of rows.current.querySelectorAll<HTMLElement>("[data-text]"))
        widest.current = Math.max(widest.current, each.offsetWidth);
    spacer.current.style.minWidth = viewer.wraps ? "" : `calc(${widest.current}px + var(--gutter) + var(--times))`;
    viewer.lay(rendered);
    onRendered(rows.current);
  });

  const places: ReactNode[] = [];
  for (let place = rendered.first; place < rendered.end; place += 1) places.push(render(place));
  return (
    <div className={styles.frame}>
      {/* biome-ignore lint/a11y/useSemanticElements: a section has no focus of its own, and this one is scrolled by keys */}
      <div
        ref={scroller}
        className={styles.scroller}
        role="region"
        aria-label={label}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard
        tabIndex={0}
        data-wrap={viewer.wraps || undefined}
        style={
          {
            "--row": `${ROW_HEIGHT}px`,
            "--gutter": `${digits + 2}ch`,
            "--times": hasTimes ? TIME_WIDTH : "0px",
          } as React.CSSProperties
        }
        onScroll={() => {
          scroller.current?.style.setProperty("--shift", `${-scroller.current.scrollLeft}px`);
          viewer.scrolled();
        }}
        {...handlers}
      >
        <div ref={spacer} className={styles.spacer} style={{ height: viewer.scale.height }}>
          <div className={styles.window} style={{ height: viewer.height }}>
            <div ref={rows} className={styles.rows}>
              {places}
            </div>
          </div>
        </div>
      </div>
      {marks}
    </div>
  );
}
