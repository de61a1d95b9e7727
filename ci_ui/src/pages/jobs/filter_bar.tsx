import { type FormEvent, type RefObject, useId, useState } from "react";
import { jobsText } from "#text/jobs";
import filterStyles from "../../components/filters/filters.module.css";
import { TypedFilter } from "../../components/filters/typed_filter";
import { type Filters, STATES, type StateFilter, TIMES } from "./filters";
import styles from "./jobs.module.css";

interface Props {
  filters: Filters;
  /** Show the jobs of these filters. What is typed replaces the address, what is chosen adds to the history. */
  apply: (filters: Filters, replace: boolean) => void;
  search: RefObject<HTMLInputElement | null>;
}

/** Which jobs are shown. */
export function FilterBar({ filters, apply, search }: Props) {
  const words = jobsText;
  return (
    <search className={filterStyles.filters} aria-label={words.filters}>
      <TypedFilter
        label={words.search}
        ref={search}
        type="search"
        value={filters.q}
        placeholder={words.searchHint}
        onTyped={(q) => apply({ ...filters, q }, true)}
      />
      <label>
        {words.state}
        <select
          value={filters.state}
          onChange={(event) => apply({ ...filters, state: event.target.value as StateFilter | "" }, false)}
        >
          <option value="">{words.anyState}</option>
          {STATES.map((state) => (
            <option key={state} value={state}>
              {words.states[state]}
            </option>
          ))}
        </select>
      </label>
      <TypedFilter
        label={words.project}
        value={filters.project}
        onTyped={(project) => apply({ ...filters, project }, true)}
      />
      <LabelFilter filters={filters} apply={apply} />
      <label>
        {words.since}
        <select value={filters.since} onChange={(event) => apply({ ...filters, since: event.target.value }, false)}>
          <option value="">{words.anyTime}</option>
          {TIMES.map((time) => (
            <option key={time} value={time}>
              {words.times[time]}
            </option>
          ))}
          {filters.since && !(TIMES as readonly string[]).includes(filters.since) && (
            <option value={filters.since}>{words.sinceOther(filters.since)}</option>
          )}
        </select>
      </label>
    </search>
  );
}

function LabelFilter({ filters, apply }: Pick<Props, "filters" | "apply">) {
  const [typed, setTyped] = useState("");
  const [isWrong, setWrong] = useState(false);
  const hint = useId();
  const field = useId();
  const add = (event: FormEvent) => {
    event.preventDefault();
    const label = typed.trim();
    setWrong(!label.includes(":"));
    if (!label.includes(":")) return;
    setTyped("");
    if (!filters.labels.includes(label)) apply({ ...filters, labels: [...filters.labels, label] }, false);
  };
  return (
    <form onSubmit={add}>
      <label htmlFor={field}>{jobsText.label}</label>
      <span className={styles.joined}>
        <input
          id={field}
          type="text"
          value={typed}
          placeholder={jobsText.labelHint}
          aria-invalid={isWrong}
          aria-describedby={isWrong ? hint : undefined}
          onChange={(event) => setTyped(event.target.value)}
        />
        <button type="submit">{jobsText.addLabel}</button>
      </span>
      {isWrong && (
        <span id={hint} role="alert" className={styles.wrong}>
          {jobsText.labelWrong}
        </span>
      )}
      {filters.labels.map((label) => (
        <button
          key={label}
          type="button"
          className={styles.chip}
          aria-label={jobsText.removeLabel(label)}
          onClick={() => apply({ ...filters, labels: filters.labels.filter((each) => each !== label) }, false)}
        >
          {label} ×
        </button>
      ))}
    </form>
  );
}
