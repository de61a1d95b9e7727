import { type FormEvent, useState } from "react";
import { Link } from "wouter";
import { jobsText } from "#text/jobs";
import { Dialog } from "../../components/dialog";
import styles from "./jobs.module.css";
import { readViews, type View, writeViews } from "./stored_views";

const BUILT_IN: View[] = [
  { name: jobsText.allJobs, address: "" },
  { name: jobsText.builtIn.active, address: "state=active" },
  { name: jobsText.builtIn.failed, address: "state=failed&since=1d" },
];

/** Filters under a name: some that everyone has, and those that were saved in this browser. */
export function Views({ address }: { address: string }) {
  const [views, setViews] = useState(readViews);
  const [isSaving, setSaving] = useState(false);
  const isKnown = [...BUILT_IN, ...views].some((view) => view.address === address);
  const keep = (changed: View[]) => {
    setViews(changed);
    writeViews(changed);
  };
  return (
    <nav className={styles.views} aria-label={jobsText.views}>
      <ul>
        {BUILT_IN.map((view) => (
          <li key={view.name}>
            <ViewLink view={view} address={address} />
          </li>
        ))}
        {views.map((view) => (
          <li key={view.name}>
            <ViewLink view={view} address={address} />
            <button
              type="button"
              className="plain"
              aria-label={jobsText.removeView(view.name)}
              onClick={() => keep(views.filter((each) => each !== view))}
            >
              ×
            </button>
          </li>
        ))}
      </ul>
      {!isKnown && (
        <button type="button" onClick={() => setSaving(true)}>
          {jobsText.saveView}
        </button>
      )}
      {isSaving && (
        <SaveDialog
          onClose={() => setSaving(false)}
          onSave={(name) => {
            keep([...views.filter((view) => view.name !== name), { name, address }]);
            setSaving(false);
          }}
        />
      )}
    </nav>
  );
}

function ViewLink({ view, address }: { view: View; address: string }) {
  return (
    <Link
      href={view.address ? `/?${view.address}` : "/"}
      aria-current={view.address === address ? "true" : undefined}
      title={view.name}
    >
      {view.name}
    </Link>
  );
}

function SaveDialog({ onSave, onClose }: { onSave: (name: string) => void; onClose: () => void }) {
  const [name, setName] = useState("");
  const save = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim()) onSave(name.trim());
  };
  return (
    <Dialog title={jobsText.saveTitle} onClose={onClose}>
      <form onSubmit={save}>
        <p>{jobsText.saveText}</p>
        <label>
          {jobsText.viewName}{" "}
          <input required maxLength={60} value={name} onChange={(event) => setName(event.target.value)} />
        </label>
        <p className="actions">
          <button type="submit" className="primary">
            {jobsText.save}
          </button>
        </p>
      </form>
    </Dialog>
  );
}
