/** Filters under a name; the address has them as the page's own does, so that it can be shared. */
export interface View {
  name: string;
  address: string;
}

const KEY = "ci-ui.views";
const MOST = 50;

/** Return the views that were saved in this browser; none where it keeps nothing. */
export function readViews(): View[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(stored) ? stored.filter(isView).slice(0, MOST) : [];
  } catch {
    return [];
  }
}

export function writeViews(views: View[]) {
  try {
    localStorage.setItem(KEY, JSON.stringify(views));
  } catch {
    // Storage may be forbidden. The views then hold until the page is left.
  }
}

function isView(value: unknown): value is View {
  const view = value as Partial<View> | null;
  return typeof view?.name === "string" && typeof view.address === "string";
}
