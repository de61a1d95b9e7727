import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { auditText } from "#text/audit";
import { api, unwrap } from "../../../api/client";
import { nextCursor } from "../../../api/paging";
import { Paging } from "../../../components/filters/paging";
import { Section } from "../../../components/section";
import { Entries, type Entry } from "./entries";
import { Export } from "./export";
import { AuditFilters } from "./filters";
import { isNarrowed, queryOf } from "./query";
import { Verify } from "./verify";

const PATH = "/settings/audit";
const PAGE = 50;

/** Who did what, the newest first; and whether the chain of entries holds. */
export default function Audit() {
  const [params] = useSearchParams();
  const found = useQuery({
    queryKey: ["audit", params.toString()],
    placeholderData: keepPreviousData,
    queryFn: async ({ signal }) => {
      const cursor = Number(params.get("cursor"));
      const query = { ...queryOf(params), limit: PAGE, ...(cursor > 0 ? { cursor } : {}) };
      const answer = await api.GET("/audit", { params: { query }, signal });
      // The route has lines as well, which are text. They are not asked for.
      const entries = (await unwrap(Promise.resolve(answer))) as Entry[];
      return { entries, next: nextCursor(answer.response) };
    },
  });
  return (
    <>
      <AuditFilters />
      <Section title={auditText.entries} query={found}>
        {({ entries, next }) => (
          <>
            {entries.length ? <Entries entries={entries} params={params} path={PATH} /> : <Nothing params={params} />}
            <Paging
              path={PATH}
              params={params}
              next={next}
              words={{ label: auditText.page, first: auditText.newest, next: auditText.older }}
            />
          </>
        )}
      </Section>
      <Export query={queryOf(params)} />
      <Verify />
    </>
  );
}

function Nothing({ params }: { params: URLSearchParams }) {
  if (!isNarrowed(params)) return <p className="muted">{auditText.empty}</p>;
  return (
    <p>
      {auditText.noMatch} <Link href={PATH}>{auditText.clear}</Link>
    </p>
  );
}
