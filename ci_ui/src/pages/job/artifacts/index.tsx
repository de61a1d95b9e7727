import { useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { artifactsText } from "#text/artifacts";
import { jobText } from "#text/job";
import { api, jobUrl, type Schemas, unwrap } from "../../../api/client";
import { bytesWords } from "../../../components/bytes";
import { Failure, Loading } from "../../../components/placeholders";
import type { Job } from "../../../live";
import { jobPath } from "../links";
import styles from "./artifacts.module.css";
import { downloadUrl } from "./kinds";
import { Preview } from "./preview";
import { type Folder, treeOf } from "./tree";

/** The files that a job has left: as a tree, with a preview of one. */
export default function ArtifactsTab({ job }: { job: Job }) {
  const [params] = useSearchParams();
  const found = useQuery({
    queryKey: ["artifacts", job.job_id, job.attempt, job.status],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/jobs/{job_id}/artifacts", { params: { path: { job_id: job.job_id } }, signal })),
  });
  const words = artifactsText;
  if (found.isPending) return <Loading />;
  if (found.isError) return <Failure error={found.error} retry={() => void found.refetch()} />;
  const { artifacts, number, bytes, left_out_number, left_out } = found.data;
  const shown = artifacts.find((each) => each.path === params.get("file"));
  return (
    <>
      {number === 0 && <p className="muted">{job.status === "completed" ? words.none : words.notYet}</p>}
      {number > 0 && (
        <>
          <p className={styles.total}>
            {jobText.artifactsOf(number, bytesWords(bytes))}
            <a href={jobUrl(job.job_id, "/artifacts.zip")} download>
              {words.zip}
            </a>
          </p>
          <div className={styles.columns} data-previewing={shown !== undefined || undefined}>
            <FolderTree job={job} folder={treeOf(artifacts)} shown={shown?.path} isTop />
            {shown && <Preview key={shown.path} job={job} artifact={shown} />}
          </div>
        </>
      )}
      {left_out_number > 0 && (
        <section>
          <h2>{words.leftOut(left_out_number)}</h2>
          <ul>
            {left_out.map((each) => (
              <li key={each.path}>
                <code>{each.path}</code>: {each.reason}
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}

interface TreeProps {
  job: Job;
  folder: Folder;
  shown: string | undefined;
  isTop?: boolean;
}

function FolderTree({ job, folder, shown, isTop = false }: TreeProps) {
  return (
    <ul className={isTop ? styles.tree : styles.inner} aria-label={isTop ? artifactsText.files : undefined}>
      {folder.folders.map((each) => (
        <li key={each.name}>
          <details open>
            <summary>
              {each.name}/ <span className="muted">{jobText.artifactsOf(each.number, bytesWords(each.bytes))}</span>
            </summary>
            <FolderTree job={job} folder={each} shown={shown} />
          </details>
        </li>
      ))}
      {folder.files.map(({ name, artifact }) => (
        <FileLine key={artifact.path} job={job} name={name} artifact={artifact} isShown={artifact.path === shown} />
      ))}
    </ul>
  );
}

interface LineProps {
  job: Job;
  name: string;
  artifact: Schemas["ArtifactView"];
  isShown: boolean;
}

function FileLine({ job, name, artifact, isShown }: LineProps) {
  if (artifact.removed) {
    return (
      <li className={styles.file}>
        <span className={styles.path}>{name}</span> <span className="muted">{artifactsText.expired}</span>
      </li>
    );
  }
  return (
    <li className={styles.file}>
      <Link
        className={styles.path}
        href={jobPath(job.job_id, "artifacts", { file: artifact.path })}
        aria-current={isShown ? "true" : undefined}
      >
        {name}
      </Link>
      <span className="muted">{bytesWords(artifact.size)}</span>
      <a href={downloadUrl(job.job_id, artifact.path)} download aria-label={artifactsText.downloadOf(artifact.path)}>
        {artifactsText.download}
      </a>
    </li>
  );
}
