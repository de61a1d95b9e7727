"""Reads files of an unpacked project, which are not trusted."""

import codecs
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

from ci_common.run_directory.untrusted_files import read_capped
from ci_server.detection.reading.requirements import invalid

_MAX_BYTES = 1024 * 1024
_MAX_PARTS = 64
_KEY = r"""(?:(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
_LONG_KEY = re.compile(rf"(?:{_KEY}\.[ \t]*+){{{_MAX_PARTS}}}")


_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks and their encodings. Longer ones come first, because UTF-32's begins like UTF-16's."""


class ProjectFiles:
    """The files of a directory. Paths are relative to it, and may not lead out of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def has(self, name: str) -> bool:
        """Return whether this is a file of the project."""
        return not self.leads_out(name) and (self.directory / name).is_file()

    def text(self, name: str) -> str:
        """Return the text of a file; empty if there is none. Raises InvalidRequest if it is too long."""
        return self._bytes(name).decode("utf-8-sig", errors="replace")

    def start(self, name: str, most: int) -> str:
        """Return the first bytes of a file as text; empty if there is none."""
        return (read_capped(Path(os.path.realpath(self.directory / name)), most) or b"").decode(errors="replace")

    def encoded_text(self, name: str) -> str:
        """Return the text of a requirement file; like pip, use the encoding of its byte order mark."""
        raw = self._bytes(name)
        mark = next((mark for mark in _MARKS if raw.startswith(mark)), None)
        return raw.decode(_MARKS[mark], errors="replace") if mark else self.text(name)

    def toml(self, name: str) -> dict[str, Any]:
        """Return the contents of a TOML file; empty if there is none. Raises InvalidRequest if it is not TOML."""
        try:
            text = self._bytes(name).decode("utf-8-sig")
            # The parser's time and memory grow with the square of the number of parts in a key.
            if _LONG_KEY.search(text):
                raise invalid(name, f"a key has more than {_MAX_PARTS} parts")
            return tomllib.loads(text)
        except (ValueError, RecursionError) as exc:
            raise invalid(name, " ".join(str(exc).split()) or "it is nested too deeply") from exc

    def json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file; empty if there is no file. Raises InvalidRequest if it is none."""
        raw = self._bytes(name)
        try:
            value = json.loads(raw.decode("utf-8-sig")) if raw else {}
        except (ValueError, RecursionError) as exc:
            raise invalid(name, " ".join(str(exc).split()) or "it is nested too deeply") from exc
        if not isinstance(value, dict):
            raise invalid(name, "it is not an object")
        return value

    @staticmethod
    def leads_out(path: str) -> bool:
        """Return whether a path leads out of the project."""
        plain = os.path.normpath(path)
        return not path.isprintable() or os.path.isabs(path) or len(path) > 1000 or plain.split("/")[0] == ".."

    def inside(self, path: str, base: str = ".") -> str | None:
        """Return a path of the project in normal form, or None if it leads out of the project or does not exist.

        `path` is relative to the folder `base`.
        """
        joined = os.path.join(base, path)
        there = not self.leads_out(joined) and (self.directory / joined).exists()
        return os.path.normpath(joined) if there else None

    def _bytes(self, name: str) -> bytes:
        # Links are followed: those of an unpacked archive do not lead out of it, and no job has changed it yet.
        raw = read_capped(Path(os.path.realpath(self.directory / name)), _MAX_BYTES + 1) or b""
        if len(raw) > _MAX_BYTES:
            raise invalid(name, f"it is longer than {_MAX_BYTES} bytes")
        return raw
