"""The content type of an artifact, by its name alone, and what a browser may do with it.

Script never runs: the answer is sandboxed, and JavaScript is plain text, so that no page of this server can load it.
"""

import posixpath
import re
from typing import Final
from urllib.parse import quote

DEFAULT: Final = "application/octet-stream"
_TEXT: Final = "text/plain; charset=utf-8"
_TYPES: Final = {
    **dict.fromkeys(
        (
            *("txt", "log", "md", "rst", "csv", "tsv", "diff", "patch", "info", "lcov", "out", "err", "tap", "sarif"),
            *("yaml", "yml", "toml", "ini", "cfg", "conf", "py", "js", "mjs", "ts", "sh", "c", "h", "cc", "cpp", "hpp"),
            *("go", "rs", "java", "kt", "rb", "php", "sql", "jsonl", "ndjson"),
        ),
        _TEXT,
    ),
    "html": "text/html; charset=utf-8",
    "htm": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "xml": "application/xml",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "ico": "image/x-icon",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "pdf": "application/pdf",
    "zip": "application/zip",
    "whl": "application/zip",
    "jar": "application/java-archive",
    "gz": "application/gzip",
    "tgz": "application/gzip",
    "tar": "application/x-tar",
    "zst": "application/zstd",
    "xz": "application/x-xz",
    "bz2": "application/x-bzip2",
    "wasm": "application/wasm",
}
_SHOWN_BY_BROWSERS: Final = ("text/", "image/", "video/", "audio/", "font/", "application/json", "application/pdf")
_ODD: Final = re.compile(r"[^ !#-\[\]-~]|[%;/]")

SANDBOX: Final = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
        "media-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
"""The headers with which a content is answered, whatever it is, besides `nosniff`, which all answers have."""
SCRIPTED_SANDBOX: Final = {
    **SANDBOX,
    "Content-Security-Policy": (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; media-src data: blob:; frame-ancestors 'self'; base-uri 'none'; "
        "form-action 'none'"
    ),
}
"""The same for a report that is shown in a frame of this server's page: its own scripts run, on an origin that is
nothing's, and it can load and send nothing."""


def content_type_of(path: str) -> str:
    """Return the content type of a file, by the end of its name; `application/octet-stream` if that says nothing."""
    return _TYPES.get(posixpath.splitext(path)[1][1:].lower(), DEFAULT)


def disposition_of(path: str, content_type: str, *, download: bool = False) -> str:
    """Return the header `Content-Disposition` of a file (RFC 6266, RFC 8187)."""
    kind = "inline" if content_type.startswith(_SHOWN_BY_BROWSERS) and not download else "attachment"
    name = posixpath.basename(path)
    plain = _ODD.sub("_", name)
    header = f'{kind}; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"
