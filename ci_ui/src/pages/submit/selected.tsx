import { submitText } from "#text/submit";
import { bytesWords } from "../../components/bytes";
import { Wide } from "../../components/wide";
import type { LeftOut, Selection } from "../../packing/select";
import styles from "./submit.module.css";

const LARGEST = 10;
const MOST_LEFT_OUT = 200;

/** What of a folder will be sent, and what not, before anything is. */
export function Selected({ selection }: { selection: Selection }) {
  const largest = selection.members
    .filter(({ file }) => file !== null)
    .sort((a, b) => (b.file?.size ?? 0) - (a.file?.size ?? 0))
    .slice(0, LARGEST);
  return (
    <section className={styles.selected} aria-labelledby="selected">
      <h2 id="selected">{selection.name}</h2>
      <p role="status">{submitText.sent(selection.count, bytesWords(selection.bytes))}</p>
      {selection.suspicious.length > 0 && (
        <div role="alert" className={styles.warning}>
          <p>{submitText.suspicious}</p>
          <ul>
            {selection.suspicious.map((path) => (
              <li key={path}>
                <code>{path}</code>
              </li>
            ))}
          </ul>
        </div>
      )}
      <details>
        <summary>{submitText.largest(largest.length)}</summary>
        <Wide label={submitText.largest(largest.length)}>
          <table>
            <thead>
              <tr>
                <th scope="col">{submitText.size}</th>
                <th scope="col">{submitText.file}</th>
              </tr>
            </thead>
            <tbody>
              {largest.map(({ path, file }) => (
                <tr key={path}>
                  <td className={styles.number}>{bytesWords(file?.size ?? 0)}</td>
                  <td>
                    <code>{path}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      </details>
      {selection.leftOut.length > 0 && <AllLeftOut leftOut={selection.leftOut} />}
      {selection.specText === null ? (
        <p className="muted">{submitText.noSpec}</p>
      ) : (
        <details>
          <summary>{submitText.spec}</summary>
          <Wide label={submitText.spec}>
            <pre className={styles.spec}>{selection.specText}</pre>
          </Wide>
        </details>
      )}
      <p className="muted">{submitText.limits}</p>
    </section>
  );
}

function AllLeftOut({ leftOut }: { leftOut: LeftOut[] }) {
  const more = leftOut.length - MOST_LEFT_OUT;
  return (
    <details>
      <summary>{submitText.leftOut(leftOut.length)}</summary>
      <Wide label={submitText.leftOut(leftOut.length)}>
        <table>
          <thead>
            <tr>
              <th scope="col">{submitText.file}</th>
              <th scope="col">{submitText.rule}</th>
            </tr>
          </thead>
          <tbody>
            {leftOut.slice(0, MOST_LEFT_OUT).map(({ path, cause }) => (
              <tr key={path}>
                <td>
                  <code>{path}</code>
                </td>
                <td>{ruleOf(cause)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        {more > 0 && <p>{submitText.leftOutMore(more)}</p>}
      </Wide>
    </details>
  );
}

function ruleOf({ file, line, pattern }: LeftOut["cause"]) {
  if (line !== null) {
    return (
      <code>
        {file}:{line}: {pattern}
      </code>
    );
  }
  return file === null ? submitText.always : submitText.environment;
}
