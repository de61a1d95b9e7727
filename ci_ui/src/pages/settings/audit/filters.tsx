import { useSearchParams } from "wouter";
import { auditText } from "#text/audit";
import styles from "../../../components/filters/filters.module.css";
import { TypedFilter } from "../../../components/filters/typed_filter";
import { DAYS, type FilterName, OUTCOMES, TYPED, withFilter } from "./query";

const HINTS: Partial<Record<FilterName, string>> = { action: auditText.actionHint, target: auditText.targetHint };

/** Which entries are shown; the address has it. */
export function AuditFilters() {
  const [params, setParams] = useSearchParams();
  const change = (name: FilterName, value: string, replace: boolean) =>
    setParams((before) => withFilter(before, name, value), { replace });
  return (
    <search className={styles.filters} aria-label={auditText.filters}>
      {TYPED.map((name) => (
        <TypedFilter
          key={name}
          label={auditText[name]}
          value={params.get(name) ?? ""}
          placeholder={HINTS[name] ?? ""}
          onTyped={(value) => change(name, value, true)}
        />
      ))}
      <label>
        {auditText.outcome}
        <select
          value={OUTCOMES.find((each) => each === params.get("outcome")) ?? ""}
          onChange={(event) => change("outcome", event.target.value, false)}
        >
          <option value="">{auditText.anyOutcome}</option>
          {OUTCOMES.map((each) => (
            <option key={each} value={each}>
              {auditText.outcomes[each]}
            </option>
          ))}
        </select>
      </label>
      {DAYS.map((name) => (
        <label key={name}>
          {auditText[name]}
          <input
            type="date"
            value={params.get(name) ?? ""}
            onChange={(event) => change(name, event.target.value, true)}
          />
        </label>
      ))}
    </search>
  );
}
