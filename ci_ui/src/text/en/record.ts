export const recordText = {
  about: "The record of the run as one document, which never changes.",
  unfinished: "The run has not ended. This is what is known so far, without a digest.",
  copy: "Copy the record",
  download: "Download",
  digest: "SHA-256 of the record",
  fingerprint: "Fingerprint of what went in and came out",
  verify: "Compute the digests again",
  verdict: (isSame: boolean) => (isSame ? "✓ computed here, and the same" : "✗ NOT what this browser computes"),
  insecure: "Browsers compute digests only for pages that came over HTTPS or from the same machine.",
};
