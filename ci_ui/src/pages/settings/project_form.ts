import { settingsText } from "#text/settings";
import type { Schemas } from "../../api/client";
import { words } from "./parts";

type Project = Schemas["ProjectView"];

const RETENTIONS = ["completed", "failed", "uploads", "jobs"] as const;
const QUOTAS = ["queued", "running", "stored", "uploads", "streams"] as const;

/** The settings of a project as they are typed. */
export interface Typed {
  description: string;
  images: string;
  defaults: string;
  retention: Record<(typeof RETENTIONS)[number], string>;
  quotas: Record<(typeof QUOTAS)[number], string>;
}

const shown = (value: unknown) => (value === null || value === undefined ? "" : String(value));

/** Return the settings of a project as one would type them. */
export function typedOf(project: Project): Typed {
  return {
    description: project.description,
    images: project.images?.join("\n") ?? "",
    defaults: project.defaults === null ? "" : JSON.stringify(project.defaults, null, 2),
    retention: {
      completed: shown(project.retention.completed),
      failed: shown(project.retention.failed),
      uploads: shown(project.retention.uploads),
      jobs: shown(project.retention.jobs),
    },
    quotas: {
      queued: shown(project.quotas.queued?.own),
      running: shown(project.quotas.running?.own),
      stored: shown(project.quotas.stored?.own),
      uploads: shown(project.quotas.uploads?.own),
      streams: shown(project.quotas.streams?.own),
    },
  };
}

/** Return what has been changed, as the API takes it. Throws Error if the default spec is no JSON object. */
export function changesOf(before: Typed, now: Typed): Record<string, unknown> {
  const changes: Record<string, unknown> = {};
  if (now.description !== before.description) changes.description = now.description || null;
  if (now.images !== before.images) {
    const images = words(now.images, /\n/);
    changes.images = images.length ? images : null;
  }
  if (now.defaults !== before.defaults) changes.defaults = now.defaults.trim() ? objectOf(now.defaults) : null;
  const retention = changed(before.retention, now.retention);
  if (retention) changes.retention = retention;
  const quotas = changed(before.quotas, now.quotas);
  if (quotas) changes.quotas = quotas;
  return changes;
}

function changed(before: Record<string, string>, now: Record<string, string>): Record<string, unknown> | null {
  const found = Object.entries(now)
    .filter(([name, value]) => value.trim() !== before[name])
    .map(([name, value]) => [name, settingOf(value.trim())]);
  return found.length ? Object.fromEntries(found) : null;
}

function settingOf(typed: string): string | number | null {
  if (!typed) return null;
  return /^[0-9]+(\.[0-9]+)?$/.test(typed) ? Number(typed) : typed;
}

function objectOf(typed: string): object {
  try {
    const value: unknown = JSON.parse(typed);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch {
    // The same is said of both.
  }
  throw new Error(settingsText.project_settings.notJson);
}

export { QUOTAS, RETENTIONS };
