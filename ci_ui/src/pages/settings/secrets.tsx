import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { settingsText } from "#text/settings";
import { api, type Schemas, unwrap } from "../../api/client";
import { may, maySomewhere, useSession } from "../../app/session";
import { Field } from "../../components/fields/field";
import { Section } from "../../components/section";
import { Time } from "../../components/time";
import { Wide } from "../../components/wide";
import { Confirm, Refusal, useRoleName } from "./parts";
import styles from "./settings.module.css";

type Secret = Schemas["SecretView"];

const phrases = settingsText.secrets;

/** The names of secrets. A value can be set and replaced, and is never shown. */
export function Secrets() {
  const queries = useQueryClient();
  const role = useRoleName();
  const session = useSession().data;
  const mayWrite = maySomewhere(session, "secrets:write");
  const secrets = useQuery({
    queryKey: ["secrets"],
    queryFn: ({ signal }) => unwrap(api.GET("/secrets", { signal })),
  });
  const [asked, setAsked] = useState<Secret | null>(null);
  const remove = useMutation({
    mutationFn: ({ name, project }: Secret) =>
      unwrap(api.DELETE("/secrets/{name}", { params: { path: { name }, query: project === null ? {} : { project } } })),
    onSuccess: () => {
      setAsked(null);
      void queries.invalidateQueries({ queryKey: ["secrets"] });
    },
  });
  return (
    <>
      <Section title={settingsText.tabs.secrets} query={secrets} empty={(all) => (all.length ? null : phrases.empty)}>
        {(all) => (
          <Wide label={settingsText.tabs.secrets}>
            <table>
              <thead>
                <tr>
                  <th scope="col">{settingsText.name}</th>
                  <th scope="col">{settingsText.project}</th>
                  <th scope="col">{phrases.masked}</th>
                  <th scope="col">{phrases.changed}</th>
                  {mayWrite && <th scope="col">{settingsText.actions}</th>}
                </tr>
              </thead>
              <tbody>
                {all.map((secret) => (
                  <tr key={`${secret.project} ${secret.name}`}>
                    <th scope="row" className={styles.name}>
                      <code>{secret.name}</code>
                    </th>
                    <td className={styles.name}>{secret.project ?? settingsText.noProject}</td>
                    <td>{secret.masked ? phrases.yes : phrases.no}</td>
                    <td>
                      <Time at={secret.changed} />, {secret.changed_by}
                    </td>
                    {mayWrite && (
                      <td className={styles.actions}>
                        {may(session, "secrets:write", secret.project) && (
                          <button type="button" onClick={() => setAsked(secret)}>
                            {settingsText.remove}
                            <span className="hidden"> {secret.name}</span>
                          </button>
                        )}
                      </td>
                    )}
                  </tr>
                ))}
              </tbody>
            </table>
          </Wide>
        )}
      </Section>
      {mayWrite ? <SetSecret /> : <p className="muted">{settingsText.mayNot(role, "secrets:write")}</p>}
      {asked && (
        <Confirm
          title={phrases.removeTitle(asked.name)}
          action={settingsText.remove}
          error={remove.error}
          confirm={() => remove.mutate(asked)}
          close={() => {
            setAsked(null);
            remove.reset();
          }}
        >
          {phrases.removeText}
        </Confirm>
      )}
    </>
  );
}

function SetSecret() {
  const queries = useQueryClient();
  const [name, setName] = useState("");
  const [project, setProject] = useState("");
  const [value, setValue] = useState("");
  const [unmasked, setUnmasked] = useState(false);
  const set = useMutation({
    mutationFn: () =>
      unwrap(
        api.PUT("/secrets/{name}", {
          params: { path: { name: name.trim() }, query: project.trim() ? { project: project.trim() } : {} },
          body: { value, ...(unmasked ? { masked: false } : {}) } as never,
        }),
      ),
    onSuccess: () => {
      setValue("");
      void queries.invalidateQueries({ queryKey: ["secrets"] });
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    if (!set.isPending) set.mutate();
  }
  return (
    <form onSubmit={submit} className={styles.form} aria-labelledby="set-secret">
      <h2 id="set-secret">{phrases.set}</h2>
      <p className="muted">{phrases.setHint}</p>
      <div className={styles.fields}>
        <Field label={settingsText.name} value={name} change={setName} required />
        <Field label={settingsText.project} value={project} change={setProject} hint={phrases.projectHint} />
        <Field label={phrases.value} value={value} change={setValue} type="password" required />
      </div>
      <label className="check">
        <input type="checkbox" checked={unmasked} onChange={(event) => setUnmasked(event.target.checked)} />
        {phrases.notMasked}
      </label>
      <Refusal error={set.error} />
      <p role="status">{set.isSuccess && !value && phrases.done(name.trim())}</p>
      <button type="submit" className="primary" aria-disabled={set.isPending}>
        {phrases.set}
      </button>
    </form>
  );
}
