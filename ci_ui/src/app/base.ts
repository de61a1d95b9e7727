/** Where the page is served, as `<base>` in index.html says: a path that ends in `/ui/`. */
const pages = new URL(document.baseURI);

/** The path of the pages, without the slash at its end. */
export const pagesPath = pages.pathname.replace(/\/$/, "");

const api = new URL("..", pages);

/** The URL of the API, without the slash at its end. */
export const apiUrl = api.href.replace(/\/$/, "");
