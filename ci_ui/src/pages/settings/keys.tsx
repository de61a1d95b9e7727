import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { commonText } from "#text/common";
import { settingsText } from "#text/settings";
import { api, type Schemas, unwrap } from "../../api/client";
import { Choice, Field } from "../../components/fields/field";
import { Section } from "../../components/section";
import { Time } from "../../components/time";
import { Wide } from "../../components/wide";
import { Confirm, Copyable, Refusal, words } from "./parts";
import styles from "./settings.module.css";

type Key = Schemas["KeyView"];
type Role = Schemas["Role"];

const ROLES: readonly Role[] = ["viewer", "developer", "operator", "admin", "member"];
const phrases = settingsText.keys;

interface Shown {
  title: string;
  hint: string;
  secret: string;
}

/** The keys that may do no more than the own one. */
export function Keys() {
  const queries = useQueryClient();
  const keys = useQuery({ queryKey: ["keys"], queryFn: ({ signal }) => unwrap(api.GET("/keys", { signal })) });
  const [asked, setAsked] = useState<{ key: Key; action: "rotate" | "revoke" } | null>(null);
  const [shown, setShown] = useState<Shown | null>(null);
  const change = useMutation({
    mutationFn: async ({ key, action }: { key: Key; action: "rotate" | "revoke" }) => {
      const params = { path: { key_id: key.id } };
      if (action === "revoke") return unwrap(api.DELETE("/keys/{key_id}", { params })).then(() => null);
      return unwrap(api.POST("/keys/{key_id}/rotate", { params, body: { overlap: "24h" } }));
    },
    onSuccess: (made, { key }) => {
      if (made) setShown({ title: phrases.rotatedTitle(key.name), hint: phrases.rotatedText, secret: made.key });
      setAsked(null);
      void queries.invalidateQueries({ queryKey: ["keys"] });
    },
  });
  return (
    <>
      {shown && (
        <section className={styles.made} aria-live="polite">
          <h2>{shown.title}</h2>
          <p>{shown.hint}</p>
          <Copyable label={phrases.secret} value={shown.secret} />
          <button type="button" onClick={() => setShown(null)}>
            {commonText.close}
          </button>
        </section>
      )}
      <Section title={settingsText.tabs.keys} query={keys} empty={(all) => (all.length ? null : phrases.empty)}>
        {(all) => <Table keys={all} ask={(key, action) => setAsked({ key, action })} />}
      </Section>
      <Create
        made={(key, name) => {
          setShown({ title: phrases.madeTitle(name), hint: phrases.madeText, secret: key });
          void queries.invalidateQueries({ queryKey: ["keys"] });
        }}
      />
      {asked && (
        <Confirm
          title={phrases[`${asked.action}Title`](asked.key.name)}
          action={phrases[asked.action]}
          error={change.error}
          confirm={() => change.mutate(asked)}
          close={() => {
            setAsked(null);
            change.reset();
          }}
        >
          {phrases[`${asked.action}Text`]}
        </Confirm>
      )}
    </>
  );
}

function Table({ keys, ask }: { keys: Key[]; ask: (key: Key, action: "rotate" | "revoke") => void }) {
  return (
    <Wide label={settingsText.tabs.keys}>
      <table>
        <thead>
          <tr>
            <th scope="col">{settingsText.name}</th>
            <th scope="col">{settingsText.owner}</th>
            <th scope="col">{settingsText.role}</th>
            <th scope="col">{settingsText.projects}</th>
            <th scope="col">{settingsText.lastUsed}</th>
            <th scope="col">{settingsText.state}</th>
            <th scope="col">{settingsText.actions}</th>
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => (
            <tr key={key.id}>
              <th scope="row" className={styles.name}>
                {key.name}
                {key.kind === "session" && <span className="muted"> ({phrases.session})</span>}
              </th>
              <td className={styles.name}>{key.owner}</td>
              <td>{key.role ?? key.scopes.join(" ")}</td>
              <td className={styles.name}>{key.projects?.join(", ") ?? settingsText.all}</td>
              <td>{key.last_used ? <Time at={key.last_used} /> : settingsText.never}</td>
              <td>
                <State of={key} />
              </td>
              <td className={styles.actions}>
                {!key.revoked && key.kind !== "session" && (
                  <button type="button" onClick={() => ask(key, "rotate")}>
                    {phrases.rotate}
                    <span className="hidden"> {key.name}</span>
                  </button>
                )}
                {!key.revoked && (
                  <button type="button" onClick={() => ask(key, "revoke")}>
                    {phrases.revoke}
                    <span className="hidden"> {key.name}</span>
                  </button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}

function State({ of: key }: { of: Key }) {
  if (key.revoked) {
    return (
      <>
        {phrases.revoked} <Time at={key.revoked} />
      </>
    );
  }
  if (!key.expires) return phrases.active;
  return (
    <>
      {Date.parse(key.expires) < Date.now() ? phrases.expired : phrases.until} <Time at={key.expires} />
    </>
  );
}

function Create({ made }: { made: (secret: string, name: string) => void }) {
  const [name, setName] = useState("");
  const [owner, setOwner] = useState("");
  const [role, setRole] = useState<Role>("developer");
  const [scopes, setScopes] = useState("");
  const [projects, setProjects] = useState("");
  const [expires, setExpires] = useState("");
  const create = useMutation({
    mutationFn: () => {
      const single = words(scopes, /[\s,]+/);
      const some = words(projects, /,/);
      const body = {
        name: name.trim(),
        ...(single.length ? { scopes: single } : { role }),
        ...(owner.trim() ? { owner: owner.trim() } : {}),
        ...(some.length ? { projects: some } : {}),
        ...(expires.trim() ? { expires_in: expires.trim() } : {}),
      };
      return unwrap(api.POST("/keys", { body: body as never }));
    },
    onSuccess: (key) => {
      made(key.key, key.name);
      setName("");
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    if (!create.isPending) create.mutate();
  }
  return (
    <form onSubmit={submit} className={styles.form} aria-labelledby="create-key">
      <h2 id="create-key">{phrases.create}</h2>
      <div className={styles.fields}>
        <Field label={settingsText.name} value={name} change={setName} required />
        <Field label={settingsText.owner} value={owner} change={setOwner} />
        <Choice label={settingsText.role} value={role} values={ROLES} change={setRole} />
        <Field label={phrases.scopes} value={scopes} change={setScopes} hint={phrases.scopesHint} />
        <Field label={settingsText.projects} value={projects} change={setProjects} hint={phrases.projectsHint} />
        <Field label={phrases.expires} value={expires} change={setExpires} hint={phrases.expiresHint} />
      </div>
      <Refusal error={create.error} />
      <button type="submit" className="primary" aria-disabled={create.isPending}>
        {phrases.create}
      </button>
    </form>
  );
}
