import { useQuery } from "@tanstack/react-query";
import { settingsText } from "#text/settings";
import { api, unwrap } from "../../api/client";
import { apiUrl } from "../../app/base";
import { useSession } from "../../app/session";
import { Section } from "../../components/section";
import styles from "./settings.module.css";

const phrases = settingsText.about;
const LINKS = [
  ["/docs", phrases.docs],
  ["/openapi.json", phrases.openapi],
  ["/schema/spec.json", phrases.schema],
] as const;

/** What this server is, and who is signed in. */
export function About() {
  const sender = useSession().data?.sender;
  const about = useQuery({
    queryKey: ["openapi"],
    queryFn: async ({ signal }) =>
      (await unwrap(api.GET("/openapi.json", { signal }))) as { info: { version: string } },
  });
  return (
    <>
      <Section title={settingsText.tabs.about} query={about}>
        {(server) => (
          <dl className={styles.list}>
            <dt>{phrases.version}</dt>
            <dd>{server.info.version}</dd>
            <dt>{phrases.page}</dt>
            <dd>{__VERSION__}</dd>
            {sender && (
              <>
                <dt>{phrases.session}</dt>
                <dd>{sender.name}</dd>
                <dt>{phrases.scopes}</dt>
                <dd>{sender.scopes.join(" ")}</dd>
              </>
            )}
          </dl>
        )}
      </Section>
      <h2>{phrases.links}</h2>
      <ul>
        {LINKS.map(([path, name]) => (
          <li key={path}>
            <a href={apiUrl + path}>{name}</a>
          </li>
        ))}
      </ul>
    </>
  );
}
