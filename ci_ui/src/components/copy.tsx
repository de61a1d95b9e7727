import { useEffect, useState } from "react";
import { commonText } from "#text/common";

const SHOWN_MS = 2_000;

/** A button that copies a text, and says that it has. */
export function CopyButton({ value, label = commonText.copy }: { value: string; label?: string }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <>
      <button type="button" onClick={() => void copyText(value).then(setDone)}>
        {done ? commonText.copied : label}
      </button>
      {/* Beside the button: it would have no name, since a status gives none to what it is in. */}
      <span role="status" className="hidden">
        {done && commonText.copied}
      </span>
    </>
  );
}

/** Copy a text; return whether the browser has done it. */
export async function copyText(value: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(value);
    return true;
  } catch {
    // Browsers have no clipboard for pages that came over plain HTTP from another host.
    return copySelected(value);
  }
}

function copySelected(value: string): boolean {
  const field = document.createElement("textarea");
  field.value = value;
  field.className = "hidden";
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  try {
    return document.execCommand("copy");
  } finally {
    field.remove();
  }
}
