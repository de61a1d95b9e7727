import { Link } from "wouter";
import styles from "./filters.module.css";

interface Props {
  path: string;
  /** What the address of this page asks for. */
  params: URLSearchParams;
  /** Where the next page begins; null at the last one. */
  next: string | null;
  words: { label: string; first: string; next: string };
}

/** The ways to the first page of a list and to the next one, where there are such. */
export function Paging({ path, params, next, words }: Props) {
  if (!params.has("cursor") && !next) return null;
  const at = (cursor: string | null) => {
    const query = new URLSearchParams(params);
    if (cursor) query.set("cursor", cursor);
    else query.delete("cursor");
    return query.size ? `${path}?${query}` : path;
  };
  return (
    <nav className={styles.paging} aria-label={words.label}>
      {params.has("cursor") && <Link href={at(null)}>{words.first}</Link>}
      {next && <Link href={at(next)}>{words.next}</Link>}
    </nav>
  );
}
