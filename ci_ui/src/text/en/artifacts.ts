export const artifactsText = {
  none: "It has left no artifacts. Its ci.yaml says which files are kept, under artifacts.",
  notYet: "Artifacts are shown once it has ended.",
  files: "Artifacts",
  zip: "Download all as zip",
  download: "Download",
  downloadOf: (path: string) => `Download ${path}`,
  expired: "expired",
  leftOut: (n: number) => (n === 1 ? "1 file was not kept" : `${n.toLocaleString("en")} files were not kept`),
  closePreview: "Close the preview",
  noPreview: "A browser cannot show files of this kind. Download it.",
  beginning: (size: string) => `This is its beginning, ${size}.`,
  reportTitle: (path: string) => `Report ${path}`,
};
