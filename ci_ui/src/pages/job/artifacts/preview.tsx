import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { artifactsText } from "#text/artifacts";
import type { Schemas } from "../../../api/client";
import { Problem } from "../../../api/problem";
import { readWhole } from "../../../api/reading";
import { bytesWords } from "../../../components/bytes";
import { Markdown } from "../../../components/markdown";
import { Failure, Loading } from "../../../components/placeholders";
import type { Job } from "../../../live";
import { jobPath } from "../links";
import styles from "./artifacts.module.css";
import { artifactUrl, downloadUrl, kindOf, reportUrl } from "./kinds";

const SHOWN_BYTES = 512 * 1024;

interface Props {
  job: Job;
  artifact: Schemas["ArtifactView"];
}

/** One file as far as a browser can show it without trusting it. */
export function Preview({ job, artifact }: Props) {
  return (
    <section className={styles.preview} aria-labelledby="preview">
      <h2 id="preview" className={styles.path}>
        {artifact.path}
      </h2>
      <p className={styles.total}>
        <span>{bytesWords(artifact.size)}</span>
        <a href={downloadUrl(job.job_id, artifact.path)} download>
          {artifactsText.download}
        </a>
        <Link href={jobPath(job.job_id, "artifacts")}>{artifactsText.closePreview}</Link>
      </p>
      <Content job={job} artifact={artifact} />
    </section>
  );
}

function Content({ job, artifact }: Props) {
  const kind = kindOf(artifact);
  switch (kind) {
    case "none":
      return <p className="muted">{artifactsText.noPreview}</p>;
    case "image":
      return <img className={styles.image} src={artifactUrl(job.job_id, artifact.path)} alt={artifact.path} />;
    case "report":
      return (
        <iframe
          className={styles.report}
          sandbox="allow-scripts"
          title={artifactsText.reportTitle(artifact.path)}
          src={reportUrl(job.job_id, artifact.path)}
        />
      );
    default:
      return <TextPreview job={job} artifact={artifact} kind={kind} />;
  }
}

function TextPreview({ job, artifact, kind }: Props & { kind: "markdown" | "json" | "text" }) {
  const found = useQuery({
    queryKey: ["artifact", job.job_id, artifact.path, artifact.sha256],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: ({ signal }) => beginningOf(artifactUrl(job.job_id, artifact.path), signal),
  });
  if (found.isPending) return <Loading />;
  if (found.isError) return <Failure error={found.error} retry={() => void found.refetch()} />;
  const isCut = artifact.size > SHOWN_BYTES;
  return (
    <>
      {isCut && <p className="muted">{artifactsText.beginning(bytesWords(SHOWN_BYTES))}</p>}
      {kind === "markdown" ? (
        <Markdown source={found.data} />
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard.
        <pre className={styles.text} tabIndex={0}>
          {kind === "json" && !isCut ? indented(found.data) : found.data}
        </pre>
      )}
    </>
  );
}

async function beginningOf(url: string, signal: AbortSignal): Promise<string> {
  const headers = { Range: `bytes=0-${SHOWN_BYTES - 1}` };
  const answer = await readWhole(url, { headers, signal });
  if (answer.status === 416) return "";
  if (!answer.ok) throw new Problem(answer.status, null);
  return answer.text();
}

/** Return JSON with line ends; text that is none as it is. */
function indented(source: string): string {
  try {
    return JSON.stringify(JSON.parse(source), null, 2);
  } catch {
    return source;
  }
}
