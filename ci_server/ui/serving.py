"""Answers to requests below `/ui/`."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ci_server.http.prefixes import prefix_of
from ci_server.http.refusals import PageFileNotFound
from ci_server.http.responses import accepted_types
from ci_server.ui.built import INDEX, BuiltFile, built_files, index_page, inline_scripts
from ci_server.ui.missing import missing_page

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "frame-src 'self'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types ci-ui",
    )
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
}
_HTML: Final = frozenset({"text/html", "application/xhtml+xml", "*/*"})


def page_answer(request: Request, path: str) -> Response:
    """Return the file of the page at `path` below `/ui/`, or for other paths index.html, which shows a page for them.

    Raises PageFileNotFound for a path that is no file, from a client that does not want HTML.
    """
    files = built_files()
    if path in files and path != INDEX:
        return _file_answer(request, files[path])
    if not _wants_html(request):
        raise PageFileNotFound(f"the page has no file {path}")
    if not files:
        return missing_page(request)
    index = files[INDEX]
    policy = _POLICY.replace("script-src 'self'", " ".join(("script-src 'self'", *inline_scripts(index))))
    headers = {**PAGE_HEADERS, "Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return Response(index_page(index, prefix_of(request.scope)), headers=headers, media_type="text/html")


def _file_answer(request: Request, file: BuiltFile) -> Response:
    headers = {**PAGE_HEADERS, "Cache-Control": file.cache_control, "ETag": file.etag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    accepted = _accepted_codings(request)
    for coding, content in file.encoded.items():
        if coding in accepted:
            headers["Content-Encoding"] = coding
            return Response(content, headers=headers, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)


def _wants_html(request: Request) -> bool:
    """Return whether the client takes HTML; one that does not say takes everything."""
    kinds = [kind for kind, _ in accepted_types(request.headers.getlist("accept"))]
    return not kinds or any(kind in _HTML for kind in kinds)


def _accepted_codings(request: Request) -> frozenset[str]:
    """Return the content codings that the client takes, without those that it excludes by `q=0`."""
    named = [each.partition(";") for each in request.headers.get("accept-encoding", "").lower().split(",")]
    return frozenset(name.strip() for name, _, weight in named if weight.replace(" ", "") not in ("q=0", "q=0.0"))
