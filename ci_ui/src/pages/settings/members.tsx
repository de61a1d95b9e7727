import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { settingsText } from "#text/settings";
import { api, type Schemas, unwrap } from "../../api/client";
import { may, useSession } from "../../app/session";
import { Choice, Field } from "../../components/fields/field";
import fieldStyles from "../../components/fields/fields.module.css";
import { Section } from "../../components/section";
import { Wide } from "../../components/wide";
import { Confirm, Refusal } from "./parts";
import styles from "./settings.module.css";

type Role = Schemas["MemberRequest"]["role"];

const ROLES: readonly Role[] = ["viewer", "developer", "operator", "admin"];
const phrases = settingsText.project_settings;

/** Who has a role in a project, besides what their keys give. */
export function Members({ project }: { project: string }) {
  const queries = useQueryClient();
  const mayChange = may(useSession().data, "projects:admin", project);
  const queryKey = ["projects", project, "members"];
  const members = useQuery({
    queryKey,
    queryFn: ({ signal }) => unwrap(api.GET("/projects/{project}/members", { params: { path: { project } }, signal })),
  });
  const [asked, setAsked] = useState<string | null>(null);
  const [owner, setOwner] = useState("");
  const [role, setRole] = useState<Role>("developer");
  const refresh = () => void queries.invalidateQueries({ queryKey });
  const add = useMutation({
    mutationFn: () =>
      unwrap(
        api.PUT("/projects/{project}/members/{owner}", {
          params: { path: { project, owner: owner.trim() } },
          body: { role },
        }),
      ),
    onSuccess: () => {
      setOwner("");
      refresh();
    },
  });
  const remove = useMutation({
    mutationFn: (name: string) =>
      unwrap(api.DELETE("/projects/{project}/members/{owner}", { params: { path: { project, owner: name } } })),
    onSuccess: () => {
      setAsked(null);
      refresh();
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    if (!add.isPending) add.mutate();
  }
  return (
    <>
      <Section title={phrases.members} query={members} empty={(all) => (all.length ? null : phrases.noMembers)}>
        {(all) => (
          <Wide label={phrases.members}>
            <table>
              <thead>
                <tr>
                  <th scope="col">{settingsText.owner}</th>
                  <th scope="col">{settingsText.role}</th>
                  {mayChange && <th scope="col">{settingsText.actions}</th>}
                </tr>
              </thead>
              <tbody>
                {all.map((member) => (
                  <tr key={member.owner}>
                    <th scope="row" className={styles.name}>
                      {member.owner}
                    </th>
                    <td>{member.role}</td>
                    {mayChange && (
                      <td>
                        <button
                          type="button"
                          aria-label={phrases.removeMember(member.owner)}
                          onClick={() => setAsked(member.owner)}
                        >
                          {settingsText.remove}
                        </button>
                      </td>
                    )}
                  </tr>
                ))}
              </tbody>
            </table>
          </Wide>
        )}
      </Section>
      {mayChange && (
        <form onSubmit={submit} className={styles.fields}>
          <Field label={settingsText.owner} value={owner} change={setOwner} required />
          <Choice label={settingsText.role} value={role} values={ROLES} change={setRole} />
          <div className={fieldStyles.field}>
            <button type="submit" aria-disabled={add.isPending}>
              {settingsText.add}
            </button>
          </div>
        </form>
      )}
      <Refusal error={add.error} />
      {asked !== null && (
        <Confirm
          title={phrases.removeMemberTitle(asked, project)}
          action={settingsText.remove}
          error={remove.error}
          confirm={() => remove.mutate(asked)}
          close={() => {
            setAsked(null);
            remove.reset();
          }}
        >
          {phrases.removeMemberText}
        </Confirm>
      )}
    </>
  );
}
