import { type FormEvent, useState } from "react";
import { useSearchParams } from "wouter";
import { testsText } from "#text/tests";
import styles from "../../../components/filters/filters.module.css";
import type { Job } from "../../../live";

const SHOWN = [
  "",
  "failed",
  "error",
  "skipped",
  "passed",
  "flaky",
  "newly_failing",
  "still_failing",
  "fixed",
  "slower",
] as const;
const ORDERS = ["", "time", "growth"] as const;

/** Which tests are shown, in which order; the address has it. */
export function TestFilters({ job }: { job: Job }) {
  const [params, setParams] = useSearchParams();
  const [typed, setTyped] = useState(params.get("q") ?? "");
  const change = (name: string, value: string) =>
    setParams((before) => {
      const after = new URLSearchParams(before);
      after.delete("cursor");
      if (value) after.set(name, value);
      else after.delete(name);
      return after;
    });
  const search = (event: FormEvent) => {
    event.preventDefault();
    change("q", typed.trim());
  };
  const words = testsText;
  return (
    <>
      {job.tests && <p>{words.totals(job.tests)}</p>}
      <form className={styles.filters} onSubmit={search}>
        <label>
          {words.show}
          <select value={params.get("status") ?? ""} onChange={(event) => change("status", event.target.value)}>
            {SHOWN.map((each) => (
              <option key={each} value={each}>
                {words.shown[each === "" ? "all" : each]}
              </option>
            ))}
          </select>
        </label>
        <label>
          {words.order}
          <select value={params.get("sort") ?? ""} onChange={(event) => change("sort", event.target.value)}>
            {ORDERS.map((each) => (
              <option key={each} value={each}>
                {words.orders[each === "" ? "position" : each]}
              </option>
            ))}
          </select>
        </label>
        <label>
          {words.search}
          <input type="search" value={typed} onChange={(event) => setTyped(event.target.value)} />
        </label>
        <button type="submit">{words.search}</button>
      </form>
    </>
  );
}
