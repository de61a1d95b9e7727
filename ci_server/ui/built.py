"""The files of the page as they were built, held in memory with what every answer says about them."""

import base64
import hashlib
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parent / "dist"
INDEX: Final = "index.html"
_BASE: Final = b'<base href="/ui/" />'
_ENCODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
_INLINE: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_HASHED: Final = "assets/"
_FOREVER: Final = "public, max-age=31536000, immutable"
_HOUR: Final = "public, max-age=3600"


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """A file of the page."""

    content: bytes
    media_type: str
    cache_control: str
    etag: str
    encoded: Mapping[str, bytes] = field(default_factory=dict)
    """The same content by the content coding that it was compressed with, the best first."""


@cache
def built_files(directory: Path = DIRECTORY) -> Mapping[str, BuiltFile]:
    """Return the files by their path below `/ui/`, or none if the page was not built. Raises OSError."""
    if not (directory / INDEX).is_file():
        return {}
    found = {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
    return {
        name: _file(name, content, found)
        for name, content in found.items()
        if not name.endswith((".br", ".gz", ".json"))
    }


def inline_scripts(index: BuiltFile) -> list[str]:
    """Return what a Content-Security-Policy names the scripts by that stand in index.html itself."""
    digests = (hashlib.sha256(text).digest() for text in _INLINE.findall(index.content))
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


def index_page(index: BuiltFile, root_path: str) -> bytes:
    """Return index.html for a server that is reached below `root_path`, such as `/ci`."""
    base = _escaped(f"{root_path}/ui/")
    return index.content.replace(_BASE, f'<base href="{base}" />'.encode(), 1)


def _file(name: str, content: bytes, found: Mapping[str, bytes]) -> BuiltFile:
    if name == INDEX and _BASE not in content:
        raise ValueError(f"{INDEX} of the page does not have {_BASE.decode()}, where the server puts its own path")
    return BuiltFile(
        content,
        _media_type(name),
        _FOREVER if name.startswith(_HASHED) else _HOUR,
        f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        {coding: found[name + suffix] for coding, suffix in _ENCODINGS if name + suffix in found},
    )


def _media_type(name: str) -> str:
    if name.endswith(".js"):
        return "text/javascript; charset=utf-8"  # The tables of some machines say otherwise.
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
