import type { ReactNode } from "react";
import { type Block, parseBlocks } from "./blocks";
import { type Inline, parseInlines } from "./inlines";
import styles from "./markdown.module.css";

/** What is beyond is left out: reading it would hold up the page. */
const LONGEST = 256 * 1024;

interface Props {
  source: string;
  /** What the first level of headings is on the page that shows it. */
  firstLevel?: number;
}

/** Markdown of a job, which is not trusted: HTML in it is text, and it loads nothing. */
export function Markdown({ source, firstLevel = 3 }: Props) {
  return <div className={styles.markdown}>{blocks(parseBlocks(source.slice(0, LONGEST)), firstLevel)}</div>;
}

function blocks(all: Block[], level: number): ReactNode[] {
  // biome-ignore lint/suspicious/noArrayIndexKey: blocks of a text have no other identity, and never move.
  return all.map((block, index) => <BlockNode key={index} block={block} level={level} />);
}

function BlockNode({ block, level }: { block: Block; level: number }) {
  switch (block.kind) {
    case "heading": {
      const Tag = `h${Math.min(6, block.level + level - 1)}` as "h3";
      return <Tag>{inlines(block.text)}</Tag>;
    }
    case "paragraph":
      return <p>{inlines(block.text)}</p>;
    case "code":
      return (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard.
        <pre tabIndex={0}>
          <code>{block.text}</code>
        </pre>
      );
    case "rule":
      return <hr />;
    case "quote":
      return <blockquote>{blocks(block.children, level)}</blockquote>;
    case "list":
      return <ListNode block={block} level={level} />;
    case "table":
      return <TableNode head={block.head} rows={block.rows} />;
  }
}

function ListNode({ block, level }: { block: Extract<Block, { kind: "list" }>; level: number }) {
  const items = block.items.map((item, index) => {
    const only = item[0];
    const isTight = item.length === 1 && only?.kind === "paragraph";
    // biome-ignore lint/suspicious/noArrayIndexKey: items of a text have no other identity, and never move.
    return <li key={index}>{isTight && only.kind === "paragraph" ? inlines(only.text) : blocks(item, level)}</li>;
  });
  return block.ordered ? <ol start={block.start}>{items}</ol> : <ul>{items}</ul>;
}

function TableNode({ head, rows }: { head: string[]; rows: string[][] }) {
  /* biome-ignore-start lint/suspicious/noArrayIndexKey: cells of a text have no other identity, and never move. */
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard.
    <div className="wide" tabIndex={0}>
      <table>
        <thead>
          <tr>
            {head.map((cell, index) => (
              <th key={index} scope="col">
                {inlines(cell)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={index}>
              {row.map((cell, column) => (
                <td key={column}>{inlines(cell)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
  /* biome-ignore-end lint/suspicious/noArrayIndexKey: see above. */
}

function inlines(source: string): ReactNode[] {
  return nodes(parseInlines(source));
}

function nodes(all: Inline[]): ReactNode[] {
  // biome-ignore lint/suspicious/noArrayIndexKey: parts of a text have no other identity, and never move.
  return all.map((inline, index) => <InlineNode key={index} inline={inline} />);
}

function InlineNode({ inline }: { inline: Inline }) {
  switch (inline.kind) {
    case "text":
      return inline.text;
    case "code":
      return <code>{inline.text}</code>;
    case "strong":
      return <strong>{nodes(inline.children)}</strong>;
    case "emphasis":
      return <em>{nodes(inline.children)}</em>;
    case "deleted":
      return <del>{nodes(inline.children)}</del>;
    case "break":
      return <br />;
    case "link":
      return (
        <a href={inline.href} rel="noreferrer nofollow ugc" target="_blank">
          {nodes(inline.children)}
        </a>
      );
  }
}
