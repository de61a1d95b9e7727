"""The answer to `GET /`: what this is and where to go, as a page for browsers and as JSON for other clients."""

import hashlib
from base64 import b64encode
from html import escape
from string import Template

from starlette.requests import Request
from starlette.responses import Response

from ci_server.http.responses import Document, accepted_types

_LINKS = {
    "jobs": ("/jobs", "the jobs, newest first"),
    "health": ("/health", "whether the server answers"),
    "ready": ("/ready", "whether it can take work, and what fails otherwise"),
    "metrics": ("/metrics", "what is counted"),
    "pool": ("/pool", "containers that wait for jobs"),
    "docs": ("/docs", "the HTTP API"),
    "openapi": ("/openapi.json", "the same for programs (OpenAPI 3.1)"),
}
_COMMANDS = {
    "submit": ("ci submit .", "submit the project in this directory"),
    "list": ("ci list", "show the jobs"),
    "logs": ("ci logs JOB", "show what a job has written"),
    "doctor": ("ci doctor", "check the installation, and say what to fix"),
}
_ABOUT = "A self-hosted job service: submit a directory, watch it run in a clean container, get a verdict."
_DOCUMENTATION = "docs/http.md"

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; }
code { font-family: ui-monospace, monospace; }
dt { margin-top: .5rem; }
dd { margin-left: 1.5rem; }
"""
_PAGE = Template("""<!DOCTYPE html>
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
<h2>In this browser</h2>
<dl>
$links</dl>
<h2>On the command line</h2>
<p>First tell the commands where the server is: <code>export CI_SERVER_URL=$url</code></p>
<dl>
$commands</dl>
<p>The HTTP API is described in <code>$documentation</code> of the project, beside the other documentation.</p>
</body>
</html>
""")
_HEADERS = {"Cache-Control": "no-cache", "Vary": "Accept"}
_HTML = frozenset({"text/html", "application/xhtml+xml"})


def style_policy(style: str) -> str:
    """Return the Content-Security-Policy of a page that loads nothing and has this text as its only style."""
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-{digest}'"
    )


def front_page(request: Request) -> Response:
    """Return the page if `Accept` prefers HTML to JSON, else the same as JSON."""
    for kind, _ in accepted_types(request.headers.getlist("accept")):
        if kind in _HTML:
            return _page(request)
        if kind in ("application/json", "application/*", "*/*"):
            break
    return Document(
        {
            "name": "ci-server",
            "about": _ABOUT,
            "links": {name: path for name, (path, _) in _LINKS.items()},
            "commands": {name: command for name, (command, _) in _COMMANDS.items()},
            "documentation": _DOCUMENTATION,
        },
        headers=_HEADERS,
    )


def _page(request: Request) -> Response:
    # A proxy may say that the browser's own connection is encrypted.
    scheme = "https" if request.headers.get("x-forwarded-proto") == "https" else request.scope["scheme"]
    origin = f"{scheme}://{request.headers.get('host', 'localhost')}"
    text = _PAGE.substitute(
        style=_STYLE,
        about=_ABOUT,
        url=escape(origin),
        links="".join(
            f'<dt><a href="{path}"><code>{path}</code></a></dt><dd>{meaning}</dd>\n'
            for path, meaning in _LINKS.values()
        ),
        commands="".join(
            f"<dt><code>{command}</code></dt><dd>{meaning}</dd>\n" for command, meaning in _COMMANDS.values()
        ),
        documentation=_DOCUMENTATION,
    )
    headers = {**_HEADERS, "Content-Security-Policy": style_policy(_STYLE), "Referrer-Policy": "no-referrer"}
    return Response(text, headers=headers, media_type="text/html")
