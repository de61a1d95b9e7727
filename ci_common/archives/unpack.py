"""Unpacks a zip archive that is not trusted.

Nothing is written outside the target: names are checked, no file is written through a link, and links are made last.
Limits count the bytes that are written, not the sizes in the archive's headers.
"""

import errno
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ci_common.archives.members import (
    TARGET_BYTES,
    check_links,
    check_target,
    is_executable,
    kind_of,
    member_path,
    shortened,
)
from ci_common.errors import InvalidUpload, TooLarge
from ci_common.sandbox.channel import ReadingLimits
from ci_common.settings import Settings

RATIO_FREE_BYTES = 256 * 1024**2
"""Bytes to which any archive may unpack: files of zeros and generated text shrink a thousandfold."""

_CHUNK_BYTES = 256 * 1024
_DIRECTORY_BYTES_PER_MEMBER = 300
_ENCRYPTED = 0x1
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError)
_NOT_WRITABLE = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ, errno.EEXIST, errno.EINVAL})
"""Errors of the system for names and targets that the file system does not support."""


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """Limits for an archive."""

    bytes: int
    """Of all files together."""
    members: int
    """Files, links and folders, including folders that are only parents of others."""
    ratio: float
    """Bytes written per byte of the archive."""
    ratio_free_bytes: int = RATIO_FREE_BYTES
    """The ratio is checked only after so many bytes."""
    reading: ReadingLimits = field(default_factory=ReadingLimits)
    """The limits of time and memory for each member, and for the list of members."""

    @classmethod
    def of(cls, settings: Settings) -> "UnpackLimits":
        """Return the limits in the settings."""
        return cls(
            settings.max_unpacked_bytes,
            settings.max_members,
            settings.max_compression_ratio,
            reading=ReadingLimits.of(settings),
        )


def unpack(
    archive: Path,
    target: Path,
    limits: UnpackLimits,
    *,
    on_member: Callable[[str], None] = lambda _: None,
    check_room: Callable[[int], None] = lambda _: None,
) -> None:
    """Unpack `archive` into the existing, empty directory `target`. Blocks.

    Files keep their executable bit and no other mode. `on_member` is called with the path of each member, and again for
    each link; `check_room` with the size of each chunk before it is written. An error that they raise ends the
    unpacking. Also raises InvalidUpload, TooLarge, and OSError if writing fails. The caller removes what was written
    before an error.
    """
    with archive.open("rb") as file:
        capped = _CappedReads(file, limits.members)
        try:
            opened = zipfile.ZipFile(capped)
        except UnicodeDecodeError as exc:
            raise InvalidUpload(f"member {exc.object!r} has a name that is not the UTF-8 it claims to be") from exc
        except _BROKEN as exc:
            raise InvalidUpload(f"the file is not a zip archive that can be read: {exc}") from exc
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            raise InvalidUpload("the file is not a zip archive that can be read: it points before its start") from exc
        with opened:
            _Unpacking(opened, target, limits, archive.stat().st_size, on_member, check_room).run()


class _CappedReads:
    """The archive as zipfile reads it. Its central directory is one read, which is limited."""

    def __init__(self, file: IO[bytes], members: int) -> None:
        self._file = file
        self._members = members
        self._limit = max(members * _DIRECTORY_BYTES_PER_MEMBER, _CHUNK_BYTES)
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable
        self.close = file.close

    def read(self, size: int = -1) -> bytes:
        if size > self._limit:
            raise TooLarge(
                f"the zip archive's list of members is {size} bytes long; at most {self._limit} are read "
                "(CI_MAX_MEMBERS)"
            )
        content = self._file.read(size)
        # Counted before zipfile makes objects of them, which use twenty times as much memory.
        if size > _CHUNK_BYTES and _entries(content) > self._members:
            raise _too_many(self._members)
        return content


def _entries(directory: bytes) -> int:
    """Return the number of entries in a central directory."""
    head = struct.Struct("<4s24xHHH12x")
    count = position = 0
    while position + head.size <= len(directory):
        signature, *lengths = head.unpack_from(directory, position)
        if signature != b"PK\x01\x02":
            break
        count += 1
        position += head.size + sum(lengths)
    return count


class _Unpacking:
    def __init__(
        self,
        opened: zipfile.ZipFile,
        target: Path,
        limits: UnpackLimits,
        archive_bytes: int,
        on_member: Callable[[str], None],
        check_room: Callable[[int], None],
    ) -> None:
        self._opened = opened
        self._target = os.fspath(target)
        self._limits = limits
        self._archive_bytes = archive_bytes
        self._most_bytes = min(limits.bytes, max(limits.ratio_free_bytes, int(archive_bytes * limits.ratio)))
        self._on_member = on_member
        self._check_room = check_room
        self._written = 0
        self._members = 0
        self._folders: set[str] = {""}
        self._others: set[str] = set()
        self._links: dict[str, str] = {}

    def run(self) -> None:
        members = self._opened.infolist()
        if not members:
            raise InvalidUpload("the zip archive is empty")
        if len(members) > self._limits.members:
            raise _too_many(self._limits.members)
        for member in members:
            self._on_member(member.orig_filename)
            with _blaming(member.orig_filename):
                self._unpack_member(member)
        check_links(self._links)
        for path, target in self._links.items():
            self._on_member(path)
            with _blaming(path):
                os.symlink(target, f"{self._target}/{path}")

    def _unpack_member(self, member: zipfile.ZipInfo) -> None:
        """Write one member; links are made later."""
        path = member_path(member)
        kind = kind_of(member)
        if kind == stat.S_IFDIR:
            self._add_folder(path)
            return
        if not path:
            raise InvalidUpload(f"member {shortened(member.orig_filename)} has no name")
        self._add_folder(path.rpartition("/")[0])
        if path in self._others:
            raise InvalidUpload(f"member {shortened(path)} is in the zip archive twice")
        if path in self._folders:
            raise _is_both(path)
        self._count_member()
        self._others.add(path)
        if kind == stat.S_IFLNK:
            self._links[path] = self._link_target(member, path)
        else:
            self._write_file(member, path)

    def _add_folder(self, path: str) -> None:
        """Make a folder and those above it."""
        missing = []
        while path not in self._folders:
            if path in self._others:
                raise _is_both(path)
            missing.append(path)
            path = path.rpartition("/")[0]
        for folder in reversed(missing):
            self._count_member()
            self._folders.add(folder)
            os.mkdir(f"{self._target}/{folder}")

    def _write_file(self, member: zipfile.ZipInfo, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(f"{self._target}/{path}", flags, 0o755 if is_executable(member) else 0o644)
        with open(descriptor, "wb", buffering=0) as file:
            for chunk in self._contents(member, path):
                rest = memoryview(chunk)
                while rest:  # An almost full disk accepts a part of the chunk, and fails at the next write.
                    rest = rest[file.write(rest) :]

    def _contents(self, member: zipfile.ZipInfo, path: str) -> Iterator[bytes]:
        # zipfile inflates other methods of compression without a limit of memory.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidUpload(f"member {shortened(path)} is compressed by another method than deflate")
        if member.flag_bits & _ENCRYPTED:
            raise InvalidUpload(f"member {shortened(path)} is encrypted")
        written = 0
        with self._opened.open(member) as source:
            while chunk := source.read(_CHUNK_BYTES):
                written += len(chunk)
                self._count_bytes(len(chunk), path, max(written, member.file_size))
                self._check_room(len(chunk))
                yield chunk

    def _count_bytes(self, size: int, path: str, file_size: int) -> None:
        self._written += size
        if self._written <= self._most_bytes:
            return
        reached = f"with member {shortened(path)} of {file_size} bytes, the zip archive unpacks to more than"
        if self._most_bytes == self._limits.bytes:
            raise TooLarge(f"{reached} {self._limits.bytes} bytes, the most that is taken (CI_MAX_UNPACKED_BYTES)")
        raise TooLarge(
            f"{reached} {self._limits.ratio:g} times its own size of {self._archive_bytes} bytes, which is looked at "
            f"above {self._limits.ratio_free_bytes} bytes (CI_MAX_COMPRESSION_RATIO)"
        )

    def _count_member(self) -> None:
        self._members += 1
        if self._members > self._limits.members:
            raise _too_many(self._limits.members)

    def _link_target(self, member: zipfile.ZipInfo, path: str) -> str:
        raw = b""
        for chunk in self._contents(member, path):
            raw += chunk
            if len(raw) > TARGET_BYTES:
                raise InvalidUpload(f"link {shortened(path)} has a target of more than {TARGET_BYTES} bytes")
        target = os.fsdecode(raw)
        check_target(path, target)
        return target


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Raise InvalidUpload for errors that are caused by the contents or the name of a member."""
    try:
        yield
    except _BROKEN as exc:
        raise InvalidUpload(f"member {shortened(name)} cannot be unpacked: {exc}") from exc
    except OSError as exc:
        if exc.errno not in _NOT_WRITABLE:
            raise
        raise InvalidUpload(f"member {shortened(name)} cannot be unpacked: {exc.strerror}") from exc


def _is_both(path: str) -> InvalidUpload:
    return InvalidUpload(f"member {shortened(path)} is both a file and a folder")


def _too_many(most: int) -> TooLarge:
    return TooLarge(f"the zip archive has more than {most} files and folders (CI_MAX_MEMBERS)")
