/**
 * The only policy by which this page makes a URL of a script. The Content-Security-Policy allows no other, so that no
 * text that came from a job can become one.
 */
interface Factory {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): string };
}

const factory = (globalThis as { trustedTypes?: Factory }).trustedTypes;

const policy = factory?.createPolicy("ci-ui", {
  createScriptURL(url) {
    if (new URL(url, document.baseURI).origin !== location.origin) throw new TypeError(`${url} is not of this server`);
    return url;
  },
});

/** Return the URL of a worker's script in the form that the constructors of workers take. Throws TypeError. */
export function scriptUrl(url: URL): URL {
  return (policy ? policy.createScriptURL(url.href) : url) as URL;
}
