/**
 * Return where the next page begins, which an answer names in its header `Link` (RFC 8288); null at the last page.
 * `name` is the parameter that says it.
 */
export function nextCursor(answer: Response, name = "cursor"): string | null {
  const target = /<([^>]*)>;\s*rel="next"/.exec(answer.headers.get("Link") ?? "")?.[1];
  return target ? new URL(target, "http://x").searchParams.get(name) : null;
}
