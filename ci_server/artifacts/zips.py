"""Several artifacts as one zip archive, which is written while it is sent."""

import asyncio
import re
import unicodedata
import zipfile
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from datetime import datetime
from io import RawIOBase
from typing import Final

from ci_common.artifacts import ArtifactStore
from ci_common.artifacts.types import DEFAULT
from ci_common.attempts.parts import Artifact

_PACKED: Final = (
    "image/",
    "video/",
    "audio/",
    "font/",
    "application/zip",
    "application/gzip",
    "application/java-archive",
)
_PACKED_TYPES: Final = frozenset(
    {DEFAULT, "application/zstd", "application/x-xz", "application/x-bzip2", "application/pdf"}
)
_SMALL: Final = 64 * 1024
"""So many bytes are compressed faster than a thread begins to."""
_ODD: Final = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_DEVICES: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


async def zip_of(artifacts: list[Artifact], store: ArtifactStore, at: datetime) -> AsyncGenerator[bytes, None]:
    """Yield the archive of artifacts, in parts. `at` is the time that all members get.

    Raises what the store raises; what was sent until then is no archive.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for artifact, name in zip(artifacts, safe_names(artifact.path for artifact in artifacts), strict=True):
            member = zipfile.ZipInfo(name, at.timetuple()[:6])
            member.external_attr = 0o644 << 16
            is_packed = artifact.content_type.startswith(_PACKED) or artifact.content_type in _PACKED_TYPES
            member.compress_type = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
            member._compresslevel = 1  # type: ignore[attr-defined]  # it has no other way for one member
            content = await store.open(artifact.key, artifact.size)
            try:
                with archive.open(member, "w", force_zip64=True) as target:
                    async with aclosing(content.chunks(0, artifact.size)) as chunks:
                        async for chunk in chunks:
                            if is_packed or len(chunk) <= _SMALL:
                                target.write(chunk)
                            else:
                                await asyncio.to_thread(target.write, chunk)
                            for part in sink.taken():
                                yield part
            finally:
                content.close()
            for part in sink.taken():
                yield part
    for part in sink.taken():
        yield part


class _Sink(RawIOBase):
    """Collects what is written to it, until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override]  # zipfile writes bytes alone
        self._parts.append(bytes(content))
        return len(content)

    def taken(self) -> Iterator[bytes]:
        """Yield what was written since the last call, as one part."""
        if self._parts:
            parts, self._parts = self._parts, []
            yield b"".join(parts)


def safe_names(paths: Iterable[str]) -> Iterator[str]:
    """Yield a name for each path that every system can unpack, into the directory alone, and that no other one has.

    Names that differ in case or in how their letters are composed count as one, as on many disks.
    """
    taken: set[str] = set()
    for path in paths:
        name = "/".join(map(_safe, path.split("/")))
        choice, number = name, 1
        while _folded(choice) in taken:
            number += 1
            stem, dot, end = name.rpartition(".")
            choice = f"{stem} ({number}).{end}" if dot and "/" not in end and stem else f"{name} ({number})"
        taken.add(_folded(choice))
        yield choice


def _safe(part: str) -> str:
    part = _ODD.sub("_", part)
    if part.endswith((".", " ")):
        part = part[:-1] + "_"
    return f"_{part}" if _DEVICES.fullmatch(part) else part


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
