import { useState } from "react";
import { Link, useSearch } from "wouter";
import { submitText } from "#text/submit";
import { maySomewhere, useSession } from "../../app/session";
import { useTitle } from "../../app/title";
import { CommandForm } from "./command_form";
import { FolderForm } from "./folder_form";
import { NO_OPTIONS, type Options } from "./options";
import styles from "./submit.module.css";

const WAYS = ["folder", "command"] as const;

/** Submits a folder, or an image and a command. */
export default function SubmitPage() {
  useTitle(submitText.title);
  const session = useSession().data;
  const wanted = new URLSearchParams(useSearch()).get("from");
  const way = WAYS.find((each) => each === wanted) ?? "folder";
  const [options, setOptions] = useState<Options>(NO_OPTIONS);
  const change = (name: keyof Options, value: string) => setOptions((before) => ({ ...before, [name]: value }));
  const sender = session?.sender;
  const refused = sender && !maySomewhere(session, "jobs:write");
  return (
    <div className={styles.page}>
      <h1>{submitText.title}</h1>
      {refused ? (
        <section className="notice">
          <h2>{submitText.refused}</h2>
          <p>{submitText.refusedText(sender.role ?? sender.name)}</p>
        </section>
      ) : (
        <>
          <nav aria-label={submitText.waysLabel} className={styles.ways}>
            {WAYS.map((each) => (
              <Link key={each} href={`/submit?from=${each}`} replace aria-current={each === way ? "page" : undefined}>
                {submitText.ways[each]}
              </Link>
            ))}
          </nav>
          <div hidden={way !== "folder"}>
            <FolderForm options={options} change={change} />
          </div>
          {way === "command" && <CommandForm options={options} change={change} />}
        </>
      )}
    </div>
  );
}
