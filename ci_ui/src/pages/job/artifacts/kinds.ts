import { jobUrl, type Schemas } from "../../../api/client";

export type Kind = "report" | "markdown" | "json" | "image" | "text" | "none";

/** Return how a file is shown, by what the server says that it is. */
export function kindOf(artifact: Pick<Schemas["ArtifactView"], "path" | "content_type">): Kind {
  const type = artifact.content_type.split(";")[0]?.trim() ?? "";
  if (type === "text/html") return "report";
  if (/\.(md|markdown)$/i.test(artifact.path)) return "markdown";
  if (type === "application/json") return "json";
  if (type.startsWith("image/")) return "image";
  return type.startsWith("text/") || type === "application/xml" ? "text" : "none";
}

/** Return the URL of an artifact. */
export function artifactUrl(jobId: string, path: string): string {
  return jobUrl(jobId, `/artifacts/${path.split("/").map(encodeURIComponent).join("/")}`);
}

/** Return the URL at which browsers save an artifact. */
export function downloadUrl(jobId: string, path: string): string {
  return `${artifactUrl(jobId, path)}?download=true`;
}

/** Return the URL at which a report runs its scripts, in a frame of this page and on an origin of its own. */
export function reportUrl(jobId: string, path: string): string {
  return `${artifactUrl(jobId, path)}?report=true`;
}
