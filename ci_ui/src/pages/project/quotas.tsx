import { projectText } from "#text/project";
import type { Schemas } from "../../api/client";
import { bytesWords } from "../../components/bytes";
import { Meter } from "../../components/charts/meter";
import { Tile, Tiles } from "../../components/tiles";

/** What a project may use at most, and how much of it is used. */
export function Quotas({ quotas }: { quotas: Schemas["ProjectView"]["quotas"] }) {
  const words = projectText;
  return (
    <section aria-labelledby="quotas">
      <h2 id="quotas">{words.quotas}</h2>
      <Tiles>
        {Object.entries(quotas).map(([name, { limit, used }]) => {
          const shown = (value: number) => (name === "stored" ? bytesWords(value) : value.toLocaleString());
          return (
            <Tile key={name} name={words.quotaNames[name] ?? name}>
              <dd>{limit === null ? words.unlimited(shown(used ?? 0)) : words.used(shown(used ?? 0), shown(limit))}</dd>
              {limit !== null && (
                <dd>
                  <Meter value={used ?? 0} limit={limit} warn />
                </dd>
              )}
            </Tile>
          );
        })}
      </Tiles>
    </section>
  );
}
