export const againText = {
  title: "Run again with changes",
  files: (name: string, size: string) =>
    `It gets the same files as this job: ${name}, ${size}. Its ci.yaml is not read again. To run other files, submit them.`,
  theUpload: "its upload",
  noFiles: "This job has no uploaded files, and the new one gets none.",
  command: "Command",
  commandHint: "Shell text, in place of what this job ran. Empty: the same as before.",
  steps: "Steps (JSON)",
  stepsHint: "In place of the steps behind the setup.",
  image: "Image",
  env: "Variables",
  envHint: (masked: string[]) =>
    masked.length
      ? `One NAME=value in a line. Those that are left out stay as they are, also ${masked.join(", ")}, which are not shown.`
      : "One NAME=value in a line. Those that are left out stay as they are.",
  labels: "Labels",
  labelsHint: "One key:value in a line. Those that are left out stay.",
  project: "Project",
  priority: "Priority",
  timeout: "Timeout",
  timeoutHint: "such as 30m",
  memory: "Memory",
  memoryHint: "such as 512m",
  cpus: "Processors",
  fresh: "Run the setup again, although there is a prepared environment",
  run: "Run",
  ways: { fields: "Single fields", text: "The spec as text" },
  waysLabel: "What to change",
  spec: "Spec",
  specHint:
    "What ci.yaml, the request and defaults made of it, behind the setup. What is left out stays as it is, also what is masked and not shown.",
  notYaml: (message: string) => `This is not YAML: ${message}`,
  notFields: "This has no fields, such as image: python:3.12.",
  notJson: (message: string) => `This is not JSON: ${message}`,
  notBoth: "Change the command or the steps, not both.",
  badLine: (line: string, mark: string) =>
    `“${line}” has no ${mark === "=" ? "= between name and value" : ": between key and value"}.`,
};
