import { renderToStaticMarkup } from "react-dom/server";
import { expect, test } from "vitest";
import { Markdown } from ".";

const html = (source: string) =>
  renderToStaticMarkup(<Markdown source={source} />).replace(/^<div[^>]*>|<\/div>$/g, "");

test.each([
  ["# One\n## Two", "<h3>One</h3><h4>Two</h4>"],
  [
    "a **b** _c_ `d*e*` ~~f~~ snake_case_name",
    "<p>a <strong>b</strong> <em>c</em> <code>d*e*</code> <del>f</del> snake_case_name</p>",
  ],
  [
    "- a\n- b\n  - c\n\n1. d\n2. e",
    '<ul><li>a</li><li><p>b</p><ul><li>c</li></ul></li></ul><ol start="1"><li>d</li><li>e</li></ol>',
  ],
  ["```py\n<b>\n# no heading\n```", '<pre tabindex="0"><code>&lt;b&gt;\n# no heading</code></pre>'],
  ["> quoted\n\n---", "<blockquote><p>quoted</p></blockquote><hr/>"],
  ["two  \nlines", "<p>two  <br/>lines</p>"],
])("%j becomes nodes", (source, expected) => {
  expect(html(source)).toBe(expected);
});

test("a table has its columns", () => {
  const table = html("| a | b |\n|---|:-:|\n| 1 | `x\\|y` | more |\n| 2 |");
  expect(table).toContain('<th scope="col">a</th><th scope="col">b</th>');
  expect(table).toContain("<td>1</td><td><code>x|y</code></td></tr>");
  expect(table).toContain("<td>2</td><td></td></tr>");
});

test("links lead to the web only, and images are not loaded", () => {
  expect(html("[a](https://x.example/y)")).toContain('<a href="https://x.example/y"');
  expect(html("see https://x.example/y.")).toContain('href="https://x.example/y"');
  expect(html("![logo](https://x.example/l.png)")).not.toContain("<img");
  for (const bad of ["javascript:alert(1)", "data:text/html,x", "//x.example", "/jobs", "JaVaScRiPt:1"]) {
    expect(html(`[a](${bad})`)).not.toContain("<a");
  }
});

test("HTML is text", () => {
  expect(html("<img src=x onerror=alert(1)><script>1</script>")).not.toMatch(/<(img|script)/);
});

test("hostile text costs no more than its length allows", { timeout: 60_000 }, () => {
  for (const part of ["*", "[", "`", "> ", "- ", "<", "_a ", "![", "|-", "**a*", "\n", "1. "])
    expect(() => html(part.repeat(20_000 / part.length))).not.toThrow();
});
