import type { UseQueryResult } from "@tanstack/react-query";
import { type ReactNode, useId } from "react";
import { commonText } from "#text/common";
import { Problem } from "../api/problem";
import { Failure, Loading } from "./placeholders";

interface Props<Data> {
  title: string;
  query: UseQueryResult<Data>;
  /** What stands in place of the children if it returns something. */
  empty?: ((data: Data) => ReactNode) | undefined;
  children: (data: Data) => ReactNode;
  className?: string;
}

/** A part of a page with data of its own: what the reader may not see, or cannot be had, does not hide the other parts. */
export function Section<Data>({ title, query, empty, children, className }: Props<Data>) {
  const heading = useId();
  return (
    <section aria-labelledby={heading} className={className}>
      <h2 id={heading}>{title}</h2>
      <Content query={query} empty={empty}>
        {children}
      </Content>
    </section>
  );
}

function Content<Data>({ query, empty, children }: Pick<Props<Data>, "query" | "empty" | "children">) {
  if (query.data !== undefined) {
    const nothing = empty?.(query.data);
    return nothing ? <p className="muted">{nothing}</p> : children(query.data);
  }
  if (query.error instanceof Problem && query.error.status === 403) return <Refused problem={query.error} />;
  if (query.isError) return <Failure error={query.error} retry={() => void query.refetch()} />;
  return <Loading />;
}

/** Says that the reader's role does not show something. */
function Refused({ problem }: { problem: Problem }) {
  return (
    <p className="muted">
      {commonText.refused} {problem.message}
    </p>
  );
}
