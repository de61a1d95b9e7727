import type { Schemas } from "../../../api/client";

export type Case = Schemas["CaseView"];
type Annotation = Schemas["AnnotationView"];

/** Return the name of a test with its class, as people search for it. */
export function fullName(test: Pick<Case, "class_name" | "name">): string {
  return test.class_name ? `${test.class_name}::${test.name}` : test.name;
}

/**
 * Return the byte offset of the line of the log that says why a test failed, or null where no line is known to.
 * A runner that is known has said file and line in the log, where the server has found them.
 */
export function placeInLog(test: Pick<Case, "file" | "line" | "message">, annotations: Annotation[]): number | null {
  const inLog = annotations.filter((each) => each.log_offset !== null && each.file !== null);
  const same = (each: Annotation) => each.file === test.file && each.line === test.line;
  const said = (each: Annotation) =>
    each.file === test.file && !!test.message?.includes(each.message.split("\n")[0] ?? "");
  const found = inLog.find(same) ?? (test.file ? inLog.find(said) : undefined);
  return found?.log_offset ?? null;
}
