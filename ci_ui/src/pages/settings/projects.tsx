import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { settingsText } from "#text/settings";
import { api, type Schemas, unwrap } from "../../api/client";
import { may, useSession } from "../../app/session";
import { Field } from "../../components/fields/field";
import { Section } from "../../components/section";
import { Members } from "./members";
import { Confirm, Refusal, useRoleName } from "./parts";
import { changesOf, QUOTAS, RETENTIONS, type Typed, typedOf } from "./project_form";
import styles from "./settings.module.css";

type Project = Schemas["ProjectView"];

const phrases = settingsText.project_settings;

/** The projects that were created, with their settings and members. */
export function Projects() {
  const role = useRoleName();
  const mayCreate = may(useSession().data, "projects:admin", null);
  const projects = useQuery({
    queryKey: ["projects"],
    queryFn: ({ signal }) => unwrap(api.GET("/projects", { signal })),
  });
  return (
    <>
      <Section title={settingsText.tabs.projects} query={projects} empty={(all) => (all.length ? null : phrases.empty)}>
        {(all) => all.map((project) => <Card key={project.name} name={project.name} />)}
      </Section>
      {mayCreate ? <Create /> : <p className="muted">{settingsText.mayNot(role, "projects:admin")}</p>}
    </>
  );
}

function Card({ name }: { name: string }) {
  const [open, setOpen] = useState(false);
  const project = useQuery({
    queryKey: ["projects", name],
    queryFn: ({ signal }) => unwrap(api.GET("/projects/{project}", { params: { path: { project: name } }, signal })),
    enabled: open,
  });
  return (
    <details className={styles.card} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{name}</summary>
      {open && (
        <Section title={name} query={project}>
          {(found) => (
            <>
              <Settings key={JSON.stringify(found)} project={found} />
              <Members project={name} />
            </>
          )}
        </Section>
      )}
    </details>
  );
}

function Settings({ project }: { project: Project }) {
  const queries = useQueryClient();
  const mayChange = may(useSession().data, "projects:admin", project.name);
  const before = typedOf(project);
  const [typed, setTyped] = useState<Typed>(before);
  const [asked, setAsked] = useState(false);
  const params = { path: { project: project.name } };
  const refresh = () => void queries.invalidateQueries({ queryKey: ["projects"] });
  const save = useMutation({
    mutationFn: async () =>
      unwrap(api.PATCH("/projects/{project}", { params, body: changesOf(before, typed) as never })),
    onSuccess: refresh,
  });
  const remove = useMutation({
    mutationFn: () => unwrap(api.DELETE("/projects/{project}", { params })),
    onSuccess: refresh,
  });
  const set = (more: Partial<Typed>) => setTyped((now) => ({ ...now, ...more }));
  function submit(event: FormEvent) {
    event.preventDefault();
    if (!save.isPending) save.mutate();
  }
  return (
    <form onSubmit={submit} className={styles.form}>
      <Field
        label={phrases.description}
        value={typed.description}
        change={(description) => set({ description })}
        disabled={!mayChange}
      />
      <div className={styles.fields}>
        <Field
          label={phrases.images}
          hint={phrases.imagesHint}
          rows={3}
          value={typed.images}
          change={(images) => set({ images })}
          disabled={!mayChange}
        />
        <Field
          label={phrases.defaults}
          hint={phrases.defaultsHint}
          rows={3}
          value={typed.defaults}
          change={(defaults) => set({ defaults })}
          disabled={!mayChange}
        />
      </div>
      <h3>{phrases.retention}</h3>
      <div className={styles.fields}>
        {RETENTIONS.map((each) => (
          <Field
            key={each}
            label={phrases.retentions[each]}
            hint={each === "jobs" ? phrases.jobsHint : phrases.retentionHint}
            value={typed.retention[each]}
            change={(value) => set({ retention: { ...typed.retention, [each]: value } })}
            disabled={!mayChange}
          />
        ))}
      </div>
      <h3>{phrases.quotas}</h3>
      <div className={styles.fields}>
        {QUOTAS.map((each) => (
          <Field
            key={each}
            label={phrases.quotaNames[each]}
            hint={phrases.quotaHint(
              String(project.quotas[each]?.limit ?? phrases.noLimit),
              String(project.quotas[each]?.used ?? 0),
            )}
            value={typed.quotas[each]}
            change={(value) => set({ quotas: { ...typed.quotas, [each]: value } })}
            disabled={!mayChange}
          />
        ))}
      </div>
      <Refusal error={save.error} />
      {mayChange && (
        <div className={styles.actions}>
          <button type="submit" className="primary" aria-disabled={save.isPending}>
            {settingsText.save}
          </button>
          <button type="button" onClick={() => setAsked(true)}>
            {settingsText.remove}
            <span className="hidden"> {project.name}</span>
          </button>
        </div>
      )}
      {asked && (
        <Confirm
          title={phrases.removeTitle(project.name)}
          action={settingsText.remove}
          error={remove.error}
          confirm={() => remove.mutate()}
          close={() => setAsked(false)}
        >
          {phrases.removeText}
        </Confirm>
      )}
    </form>
  );
}

function Create() {
  const queries = useQueryClient();
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const create = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST("/projects", {
          body: { name: name.trim(), ...(description ? { description } : {}) } as never,
        }),
      ),
    onSuccess: () => {
      setName("");
      setDescription("");
      void queries.invalidateQueries({ queryKey: ["projects"] });
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    if (!create.isPending) create.mutate();
  }
  return (
    <form onSubmit={submit} className={styles.form} aria-labelledby="create-project">
      <h2 id="create-project">{phrases.create}</h2>
      <div className={styles.fields}>
        <Field label={settingsText.name} value={name} change={setName} required />
        <Field label={phrases.description} value={description} change={setDescription} />
      </div>
      <Refusal error={create.error} />
      <button type="submit" className="primary" aria-disabled={create.isPending}>
        {phrases.create}
      </button>
    </form>
  );
}
