"""What differs between two runs of any setup, and says nothing about the setup: it is taken out, or counted apart."""

import re
from collections.abc import Callable, Mapping

LONGEST = 16 * 1024**2
"""Bytes of a file that may have to be looked into."""

_PYC_HEAD = 16
_PYC_TIME = slice(8, 12)
_COMPILED = re.compile(r"(?P<folder>(?:.*/)?)__pycache__/(?P<name>[^/]+?)\.[^./]+(?:\.opt-[^./]+)?\.pyc")
_GO_ENTRY = re.compile(rb"(v1 [0-9a-f]{64} [0-9a-f]{64} +\d+ )( *\d+)(\n)")
_GO_TIMES = re.compile(r"(?:.*/)?(?:trim|testexpire)\.txt")
_ACTIVATION = re.compile(r"(?:.*/)?bin/[Aa]ctivate[^/]*")
_LOGS = re.compile(r"var/log/.+|var/cache/ldconfig/aux-cache")


def normaliser_of(path: str) -> Callable[[bytes], bytes] | None:
    """Return what takes the times out of the content of a file with this name, or None if nothing has to be."""
    if path.endswith(".pyc"):
        return _without_time_of_source
    if path.endswith("-a"):
        return _without_time_of_entry
    if path.endswith(".dist-info/RECORD"):
        return _without_digests
    return _without_only_time if _GO_TIMES.fullmatch(path) else None


def _without_time_of_source(content: bytes) -> bytes:
    """Python notes in a compiled module when its source was written, unless it goes by the source's digest."""
    if len(content) < _PYC_HEAD or content[4:8] != bytes(4):
        return content
    return content[: _PYC_TIME.start] + bytes(4) + content[_PYC_TIME.stop :]


def _without_time_of_entry(content: bytes) -> bytes:
    """Go notes in each entry of its cache when it was made."""
    match = _GO_ENTRY.fullmatch(content)
    return content if match is None else match[1] + match[3]


def _without_digests(content: bytes) -> bytes:
    """Installers note the digest of each file of a package, also of programs that name their place.

    The files are compared themselves.
    """
    return b"\n".join(line.rsplit(b",", 2)[0] for line in content.splitlines())


def without_prompt(path: str, place: bytes) -> tuple[bytes, bytes] | None:
    """Return what stands for the name of its place in the prompt of a virtual environment, and its replacement."""
    return (b"(%s) " % place.rpartition(b"/")[2], b"() ") if _ACTIVATION.fullmatch(path) else None


def _without_only_time(content: bytes) -> bytes:
    """Go keeps files that have nothing but a time in them."""
    return b"" if content.strip().isdigit() else content


def kind_of(path: str, here: Mapping[str, object], there: Mapping[str, object]) -> str | None:
    """Return which kind of noise it is if this file differs between two trees, or None if it is none.

    `compiled`: a module that Python has compiled from a source that both trees have. Of the same source it can write
    different bytes, by what it has compiled before; and a source that differs is found itself. `logs`: what package
    managers of systems write about their own work, with the time.
    """
    if _LOGS.fullmatch(path):
        return "logs"
    compiled = _COMPILED.fullmatch(path)
    if compiled is not None:
        source = f"{compiled['folder']}{compiled['name']}.py"
        if source in here and source in there:
            return "compiled"
    return None
