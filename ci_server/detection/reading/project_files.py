"""Reads the files of a project that has just been unpacked, none of which is trusted."""

import codecs
import os
import re
import tomllib
from pathlib import Path
from typing import Any

from ci_common.run_directory.layout import read_capped
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
"""The marks at a text's beginning that tell its encoding, the longer ones first: UTF-32's begins as UTF-16's."""


class ProjectFiles:
    """The files of one directory. Paths are relative to it, and lead nowhere else."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def has(self, name: str) -> bool:
        """Tell whether this is a file of the project."""
        return not self.leads_out(name) and (self.directory / name).is_file()

    def text(self, name: str) -> str:
        """Return a file's text; empty where there is none. Raises InvalidRequest where it is too long."""
        return self._bytes(name).decode("utf-8-sig", errors="replace")

    def encoded_text(self, name: str) -> str:
        """Return the text of a file of requirements, in the encoding that its beginning names, as pip reads it."""
        raw = self._bytes(name)
        mark = next((mark for mark in _MARKS if raw.startswith(mark)), None)
        return raw.decode(_MARKS[mark], errors="replace") if mark else self.text(name)

    def toml(self, name: str) -> dict[str, Any]:
        """Return what a file says; empty where there is none. Raises InvalidRequest where it is not TOML."""
        try:
            text = self._bytes(name).decode("utf-8-sig")
            # The parser takes time and memory by the square of a key's parts.
            if _LONG_KEY.search(text):
                raise invalid(name, f"a key has more than {_MAX_PARTS} parts")
            return tomllib.loads(text)
        except (ValueError, RecursionError) as exc:
            raise invalid(name, " ".join(str(exc).split()) or "it is nested too deeply") from exc

    @staticmethod
    def leads_out(path: str) -> bool:
        """Tell whether a path is not one within the project."""
        plain = os.path.normpath(path)
        return not path.isprintable() or os.path.isabs(path) or len(path) > 1000 or plain.split("/")[0] == ".."

    def inside(self, path: str, base: str = ".") -> str | None:
        """Return a path of the project in its plain form, or None where it leads out of it or is not there.

        `path` is relative to the folder `base`.
        """
        joined = os.path.join(base, path)
        there = not self.leads_out(joined) and (self.directory / joined).exists()
        return os.path.normpath(joined) if there else None

    def _bytes(self, name: str) -> bytes:
        # Links are followed: none of an unpacked archive leads out of it, and no job has been at it yet.
        raw = read_capped(Path(os.path.realpath(self.directory / name)), _MAX_BYTES + 1) or b""
        if len(raw) > _MAX_BYTES:
            raise invalid(name, f"it is longer than {_MAX_BYTES} bytes")
        return raw
