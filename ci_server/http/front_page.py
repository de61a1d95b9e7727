"""The answer to `GET /`: the page for browsers, and for other clients what this is and where to go, as JSON."""

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ci_server.http.prefixes import prefix_of
from ci_server.http.responses import Document, accepted_types

LINKS: Final = {
    "ui": ("/ui/", "jobs and logs in a browser"),
    "jobs": ("/jobs", "the jobs, newest first"),
    "health": ("/health", "whether the server answers"),
    "ready": ("/ready", "whether it can take work, and what fails otherwise"),
    "metrics": ("/metrics", "what is counted"),
    "pool": ("/pool", "containers that wait for jobs"),
    "docs": ("/docs", "the HTTP API"),
    "openapi": ("/openapi.json", "the same for programs (OpenAPI 3.1)"),
}
"""Paths by name, each with what is there."""
COMMANDS: Final = {
    "submit": ("ci submit .", "submit the project in this directory"),
    "list": ("ci list", "show the jobs"),
    "logs": ("ci logs JOB", "show what a job has written"),
    "doctor": ("ci doctor", "check the installation, and say what to fix"),
}
"""Commands by name, each with what it does."""
ABOUT: Final = "A self-hosted job service: submit a directory, watch it run in a clean container, get a verdict."
_DOCUMENTATION: Final = "docs/http.md"
_HEADERS: Final = {"Cache-Control": "no-cache", "Vary": "Accept"}
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})


def front_page(request: Request) -> Response:
    """Return a redirect to the page if `Accept` prefers HTML to JSON, else what this is, as JSON."""
    prefix = prefix_of(request.scope)
    for kind, _ in accepted_types(request.headers.getlist("accept")):
        if kind in _HTML:
            return RedirectResponse("/ui/", headers=_HEADERS)
        if kind in ("application/json", "application/*", "*/*"):
            break
    return Document(
        {
            "name": "ci-server",
            "about": ABOUT,
            "links": {name: prefix + path for name, (path, _) in LINKS.items()},
            "commands": {name: command for name, (command, _) in COMMANDS.items()},
            "documentation": _DOCUMENTATION,
        },
        headers=_HEADERS,
    )
