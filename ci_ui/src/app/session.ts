import { type QueryClient, queryOptions, useQuery } from "@tanstack/react-query";
import { api, type Schemas, unwrap } from "../api/client";
import { apiUrl, pagesPath } from "./base";

export type Session = Schemas["SessionView"];
export type Sender = Schemas["SenderView"];
export type Scope = Sender["scopes"][number];

const SESSION = queryOptions({
  queryKey: ["session"],
  queryFn: ({ signal }) => unwrap(api.GET("/session", { signal })),
  staleTime: 60_000,
});

/** Who is signed in here, and what they may do. Everything else waits for the answer. */
export function useSession() {
  return useQuery(SESSION);
}

/** Ask the server again who is signed in, as after a 401. Throws as requests do. */
export function askAgain(queries: QueryClient): Promise<Session> {
  return queries.fetchQuery({ ...SESSION, staleTime: 0 });
}

/** Return whether nothing but the page for signing in can be shown. */
export function mustSignIn(session: Session): boolean {
  return session.needs_sign_in && session.sender === null;
}

/**
 * Return whether the sender has a scope in a project, be it by role or by membership; with null, for what belongs to
 * none, which is whether it has the scope everywhere.
 */
export function may(session: Session | undefined, scope: Scope, project: string | null): boolean {
  const sender = session?.sender;
  if (!sender) return false;
  const isOwn = sender.scopes.includes(scope);
  if (project === null) return isOwn && sender.projects === null;
  if (isOwn && (sender.projects === null || sender.projects.includes(project))) return true;
  return sender.scopes_in[project]?.includes(scope) ?? false;
}

/** Return whether the sender has a scope in some project at least. */
export function maySomewhere(session: Session | undefined, scope: Scope): boolean {
  const sender = session?.sender;
  if (!sender) return false;
  return sender.scopes.includes(scope) || Object.values(sender.scopes_in).some((scopes) => scopes.includes(scope));
}

/** End the session, and all that the page holds of it. */
export async function signOut(): Promise<void> {
  await unwrap(api.DELETE("/session"));
  location.assign(`${pagesPath}/sign-in`);
}

/** The path of a page as the server names it, without the prefix of a proxy. */
const PAGES = "/ui";
const LONGEST_PATH = 1_000;

/** Return the address of the page for signing in that leads back to the page that is shown now. */
export function signInPath(): string {
  const here = location.pathname.slice(pagesPath.length) + location.search + location.hash;
  if (here.length + PAGES.length > LONGEST_PATH || here === "/" || here.startsWith("/sign-in")) return "/sign-in";
  return `/sign-in?${new URLSearchParams({ return_to: PAGES + here })}`;
}

/** Return the page that comes after a sign-in, relative to the pages. Without one of this server, it is the first page. */
export function returnPath(search: string, pages = pagesPath): string {
  const wanted = new URLSearchParams(search).get("return_to") ?? "";
  const prefix = [pages, PAGES].find((each) => wanted.startsWith(`${each}/`));
  if (prefix === undefined) return "/";
  const path = wanted.slice(prefix.length);
  // Resolved as a browser would do it, so that dots and backslashes cannot lead out of the pages.
  const root = new URL(`${pages}/`, location.origin);
  const target = URL.parse(pages + path, location.origin);
  if (target === null || target.origin !== root.origin || !target.pathname.startsWith(root.pathname)) return "/";
  const found = target.pathname.slice(pages.length) + target.search + target.hash;
  return found.startsWith("//") ? "/" : found;
}

/** Return the address at which a browser begins to sign in at an issuer; only one of this server. */
export function issuerUrl(url: string, returnTo: string): string {
  const target = new URL(url, `${apiUrl}/`);
  if (target.origin !== location.origin) throw new TypeError(`${url} is not an address of this server`);
  target.searchParams.set("return_to", PAGES + returnTo);
  return target.href;
}
