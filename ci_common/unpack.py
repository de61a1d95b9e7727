"""Unpacks a zip archive that nobody vouches for.

What is written stays inside the target: names are taken apart and checked, nothing is ever written through a link, and
links are made last. Limits hold for what is really written; what the archive's headers claim is not believed.
"""

import asyncio
import errno
import os
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ci_common.errors import CiError, InvalidUpload, TooLarge
from ci_common.settings import Settings

_CHUNK_BYTES = 256 * 1024
_NAME_BYTES = 255
_PATH_BYTES = 2048
_LINK_BYTES = 4096
_RATIO_FREE_BYTES = 16 * 1024**2
_DIRECTORY_BYTES_PER_MEMBER = 300
_ENCRYPTED = 0x1
_UTF8_NAME = 0x800
_WINDOWS, _UNIX, _MACOS = 0, 3, 19
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError)
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


class UnpackingStopped(CiError):
    """Unpacking ended early because its caller asked for that."""


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """What an archive may become."""

    bytes: int
    """All files together."""
    members: int
    """Files, links and folders, counting folders that are only named as parents."""
    ratio: float
    """Bytes written per byte of the archive; checked once 16 MiB are written."""

    @classmethod
    def of(cls, settings: Settings) -> "UnpackLimits":
        """Return the limits that the settings name."""
        return cls(settings.max_unpacked_bytes, settings.max_members, settings.max_compression_ratio)


async def unpack_beside(
    archive: Path, target: Path, limits: UnpackLimits, *, check_room: Callable[[], None] = lambda: None
) -> None:
    """Unpack `archive` as `unpack` does, in a thread that ends soon after a cancellation."""
    stopped = threading.Event()
    unpacking = asyncio.to_thread(unpack, archive, target, limits, stopped=stopped, check_room=check_room)
    work = asyncio.create_task(unpacking, name="unpack")
    try:
        await asyncio.shield(work)
    finally:
        stopped.set()
        await asyncio.gather(work, return_exceptions=True)


def unpack(
    archive: Path,
    target: Path,
    limits: UnpackLimits,
    *,
    stopped: threading.Event,
    check_room: Callable[[], None] = lambda: None,
) -> None:
    """Unpack `archive` into the existing, empty directory `target`. Blocks; meant for a thread.

    Files keep their executable bit and no other mode. Once `stopped` is set it ends within one chunk. `check_room` is
    called before each chunk is written; what it raises ends the unpacking. Further raises InvalidUpload, TooLarge,
    UnpackingStopped, and OSError where the disk cannot take it; what was written until then is left for the caller to
    remove.
    """
    with archive.open("rb") as file:
        capped = _CappedReads(file, limits.members * _DIRECTORY_BYTES_PER_MEMBER)
        try:
            with zipfile.ZipFile(capped) as opened:
                _Unpacking(opened, target, limits, archive.stat().st_size, stopped, check_room).run()
        except _BROKEN as exc:
            raise InvalidUpload(f"the file is not a zip archive that can be read: {exc}") from exc
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            raise InvalidUpload("the file is not a zip archive that can be read: it points before its start") from exc


class _CappedReads:
    """The archive as zipfile reads it. Its central directory is read at once, so that one read is capped."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = max(limit, _CHUNK_BYTES)
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable
        self.close = file.close

    def read(self, size: int = -1) -> bytes:
        if size > self._limit:
            raise TooLarge(f"the zip archive's list of members is {size} bytes long; at most {self._limit} are read")
        return self._file.read(size)


class _Unpacking:
    def __init__(
        self,
        opened: zipfile.ZipFile,
        target: Path,
        limits: UnpackLimits,
        archive_bytes: int,
        stopped: threading.Event,
        check_room: Callable[[], None],
    ) -> None:
        self._opened = opened
        self._target = target
        self._limits = limits
        self._most_bytes = min(limits.bytes, max(_RATIO_FREE_BYTES, int(archive_bytes * limits.ratio)))
        self._stopped = stopped
        self._check_room = check_room
        self._written = 0
        self._members = 0
        self._folders: set[str] = {""}
        self._others: set[str] = set()

    def run(self) -> None:
        members = self._opened.infolist()
        if not members:
            raise InvalidUpload("the zip archive is empty")
        if len(members) > self._limits.members:
            raise self._too_many_members()
        links = [(path, target) for path, target in map(self._unpack_member, members) if target is not None]
        for path, target in links:
            os.symlink(target, self._target / path)
        for path, target in links:
            self._check_link(path, target)

    def _unpack_member(self, member: zipfile.ZipInfo) -> tuple[str, str | None]:
        """Write one member; return its path, and the target where it is a link, which is not made yet."""
        path = member_path(member)
        kind = _kind(member)
        if kind == stat.S_IFDIR:
            self._add_folder(path)
            return path, None
        if not path:
            raise InvalidUpload(f"member {member.filename!r} has no name")
        self._add_folder(path.rpartition("/")[0])
        if path in self._others:
            raise InvalidUpload(f"member {path!r} is in the zip archive twice")
        if path in self._folders:
            raise InvalidUpload(f"member {path!r} is both a file and a folder")
        self._count_member()
        self._others.add(path)
        if kind == stat.S_IFLNK:
            return path, self._link_target(member, path)
        self._write_file(member, path)
        return path, None

    def _add_folder(self, path: str) -> None:
        if path in self._folders:
            return
        self._add_folder(path.rpartition("/")[0])
        if path in self._others:
            raise InvalidUpload(f"member {path!r} is both a file and a folder")
        self._count_member()
        self._folders.add(path)
        os.mkdir(self._target / path)

    def _write_file(self, member: zipfile.ZipInfo, path: str) -> None:
        executable = member.create_system in (_UNIX, _MACOS) and member.external_attr >> 16 & 0o111
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._target / path, flags, 0o755 if executable else 0o644)
        with open(descriptor, "wb", buffering=0) as file:
            for chunk in self._contents(member):
                file.write(chunk)

    def _contents(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        # Other methods of compression are inflated by zipfile without a bound on memory.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidUpload(f"member {member.filename!r} is compressed by another method than deflate")
        if member.flag_bits & _ENCRYPTED:
            raise InvalidUpload(f"member {member.filename!r} is encrypted")
        with self._opened.open(member) as source:
            while True:
                if self._stopped.is_set():
                    raise UnpackingStopped
                chunk = source.read(_CHUNK_BYTES)
                if not chunk:
                    break
                self._count_bytes(len(chunk))
                self._check_room()
                yield chunk

    def _count_bytes(self, size: int) -> None:
        self._written += size
        if self._written > self._most_bytes:
            if self._most_bytes == self._limits.bytes:
                raise TooLarge(f"the zip archive unpacks to more than {self._limits.bytes} bytes")
            raise TooLarge(f"the zip archive unpacks to more than {self._limits.ratio:g} times its size")

    def _count_member(self) -> None:
        self._members += 1
        if self._members > self._limits.members:
            raise self._too_many_members()

    def _too_many_members(self) -> TooLarge:
        return TooLarge(f"the zip archive has more than {self._limits.members} files and folders")

    def _link_target(self, member: zipfile.ZipInfo, path: str) -> str:
        raw = b""
        for chunk in self._contents(member):
            raw += chunk
            if len(raw) > _LINK_BYTES:
                raise InvalidUpload(f"link {path!r} has a target of more than {_LINK_BYTES} bytes")
        target = os.fsdecode(raw)
        if not target or "\0" in target or target.startswith("/"):
            raise InvalidUpload(f"link {path!r} leads out of the project, to {target!r}")
        return target

    def _check_link(self, path: str, target: str) -> None:
        root = os.path.realpath(self._target)
        end = os.path.realpath(self._target / path)
        if end != root and not end.startswith(root + "/"):
            raise InvalidUpload(f"link {path!r} leads out of the project, to {target!r}")


def member_path(member: zipfile.ZipInfo) -> str:
    """Return a member's path relative to the archive's root, in normal form; empty for the root itself.

    Raises InvalidUpload where it would leave the root or is no name a file can have.
    """
    name = member.orig_filename
    if not member.flag_bits & _UTF8_NAME:
        try:
            name = name.encode("cp437").decode()  # Most programs write UTF-8 and do not say so.
        except ValueError:
            pass
    if member.create_system == _WINDOWS:
        name = name.replace("\\", "/")
    if name.startswith("/") or _DRIVE.match(name):
        raise InvalidUpload(f"member {name!r} has an absolute path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidUpload(f"member {name!r} leads out of the project")
    if "\0" in name:
        raise InvalidUpload(f"member {name!r} has a NUL byte in its name")
    path = "/".join(parts)
    if len(os.fsencode(path)) > _PATH_BYTES or any(len(os.fsencode(part)) > _NAME_BYTES for part in parts):
        raise InvalidUpload(
            f"member {name[:80]!r}… has too long a name: {_NAME_BYTES} bytes, {_PATH_BYTES} with folders"
        )
    return path


def _kind(member: zipfile.ZipInfo) -> int:
    """Return the member's file type; raises InvalidUpload where it is none that is unpacked."""
    kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system in (_UNIX, _MACOS) else 0
    if kind == 0:
        folder = member.orig_filename.endswith(("/", "\\") if member.create_system == _WINDOWS else "/")
        return stat.S_IFDIR if folder else stat.S_IFREG
    if kind not in (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK):
        raise InvalidUpload(f"member {member.filename!r} is neither a file nor a folder nor a link")
    return kind
