"""The image of a Node.js project, by what it says of versions."""

import re
from typing import Any

from ci_server.detection.reading.project_files import ProjectFiles

_EXACT = re.compile(r"v?([0-9]{1,3})(?:\.([0-9]{1,4}))?(?:\.([0-9]{1,4}))?")
_CODENAME = re.compile(r"lts/([a-z]{1,20})")
_COMPARATOR = re.compile(r"(\^|~>?|>=|<=|>|<|=)?\s*v?([0-9]{1,3}|[xX*])((?:\.[0-9xX*]{1,4}){0,2})(?:-[0-9A-Za-z.-]+)?")
_OLDEST, _NEWEST = 8, 99
"""The major versions that are looked at."""
_USUAL = 22
"""A major version that the image `node:lts-slim` is at least."""


def node_image(files: ProjectFiles, manifest: dict[str, Any]) -> tuple[str, str]:
    """Return the image, and what in the project it comes from."""
    for name in (".nvmrc", ".node-version"):
        if (tag := _tag_of_version(files.text(name).strip())) is not None:
            return f"node:{tag}-slim", name
    for field, inner in (("volta", "node"), ("engines", "node")):
        text = _text(manifest.get(field), inner)
        tag = _tag_of_version(text) if _is_full(text) else _tag_of_range(text)
        if tag is not None:
            return f"node:{tag}-slim", f"package.json ({field})"
    return "node:lts-slim", "default"


def _text(table: object, name: str) -> str:
    value = table.get(name) if isinstance(table, dict) else None
    return value.strip() if isinstance(value, str) and len(value) < 200 else ""


def _is_full(text: str) -> bool:
    found = _EXACT.fullmatch(text)
    return found is not None and found[3] is not None


def _tag_of_version(text: str) -> str | None:
    if text.lower() in ("lts/*", "lts", "node", "stable"):
        return "lts"
    if (named := _CODENAME.fullmatch(text.lower())) is not None:
        return named[1]
    found = _EXACT.fullmatch(text)
    return ".".join(part for part in found.groups() if part is not None) if found else None


def _tag_of_range(text: str) -> str | None:
    """Return the newest major version in a range, or the long-term one where the range has no end."""
    ranges = [_majors(part) for part in text.split("||")] if text else []
    allowed = set().union(*(part for part in ranges if part is not None))
    if not allowed:
        return None
    if _NEWEST not in allowed:
        return str(max(allowed))
    lowest = min(allowed)
    return "lts" if lowest <= _USUAL else str(lowest)


def _majors(text: str) -> set[int] | None:
    """Return the major versions in an alternative of a range; None if it is not one."""
    text = re.sub(r"(\S+)\s+-\s+(\S+)", r">=\1 <=\2", text.strip())
    allowed, end = set(range(_OLDEST, _NEWEST + 1)), 0
    for found in _COMPARATOR.finditer(text):
        if text[end : found.start()].strip():
            return None
        end = found.end()
        allowed &= _majors_of(found[1] or "", found[2], found[3])
    return None if text[end:].strip() else allowed


def _majors_of(operator: str, major: str, rest: str) -> set[int]:
    every = range(_OLDEST, _NEWEST + 1)
    if not major.isdigit():
        return set(every)
    number = int(major)
    is_inner = any(part.isdigit() and int(part) for part in rest.split("."))
    if operator == ">=":
        return {one for one in every if one >= number}
    if operator == ">":
        return {one for one in every if one >= number + (not rest)}
    if operator == "<":
        return {one for one in every if one < number + is_inner}
    return {one for one in every if one <= number} if operator == "<=" else {number} & set(every)
