"""Packs a directory as it is, dirty or not, into a zip archive on disk. What belongs to it says `ci_client.ignore`.

The archive keeps permission bits, empty directories and symbolic links that stay in the tree; the same tree gives the
same bytes. It has no name in the file system, so nothing of it is left behind, however the process ends.
"""

import os
import stat
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ci_client.errors import PackingError
from ci_client.ignore import Rules

_CHUNK = 1024 * 1024
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_LATEST = (2107, 12, 31, 23, 59, 58)
_UNIX = 3
_DOS_DIRECTORY = 0x10
_LIST_IT = "list it in .ciignore to leave it out"

Progress = Callable[[int, int], None]
"""Takes how many files and how many of their bytes have been packed so far."""


@dataclass(slots=True)
class Archive:
    """A project as a zip archive, open for reading. Close `file` when done."""

    file: BinaryIO
    files: int | None = None
    """How many files and links it holds; None for an archive somebody else made."""
    unpacked_bytes: int | None = None
    notes: list[str] = field(default_factory=list)
    """What was passed over and may be missed: sockets, files that vanished meanwhile."""

    @property
    def size(self) -> int:
        """The archive's length in bytes."""
        return os.fstat(self.file.fileno()).st_size


@contextmanager
def open_project(path: Path, progress: Progress | None = None) -> Iterator[Archive]:
    """Give the project at `path` as an archive: a directory packed, a zip archive as it is.

    Raises PackingError.
    """
    archive = pack_directory(path, progress) if path.is_dir() else _open_archive(path)
    with archive.file:
        yield archive


def pack_directory(root: Path, progress: Progress | None = None) -> Archive:
    """Pack a directory. Raises PackingError, naming the file and what to do, where something cannot be packed."""
    # Unlinked from the start, where the system can; it is closed by whoever gets the archive.
    file = tempfile.TemporaryFile(prefix="ci-project-", suffix=".zip")  # noqa: SIM115
    try:
        packer = _Packer(root, file, progress)
        packer.pack()
    except OSError as exc:
        file.close()
        raise PackingError(f"cannot pack {_shown(str(root))}: {exc.strerror or exc}") from exc
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return Archive(file, packer.files, packer.bytes, packer.notes)


def _open_archive(path: Path) -> Archive:
    if not path.exists():
        raise PackingError(f"{_shown(str(path))} does not exist")
    if path.suffix.lower() != ".zip" or not path.is_file():
        raise PackingError(f"{_shown(str(path))} is neither a directory nor a .zip file")
    try:
        return Archive(path.open("rb"))
    except OSError as exc:
        raise PackingError(f"cannot read {_shown(str(path))}: {exc.strerror}") from exc


class _Packer:
    def __init__(self, root: Path, file: BinaryIO, progress: Progress | None) -> None:
        self._root = root
        self._real_root = root.resolve()
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=1)
        self._progress = progress
        self.files = 0
        self.bytes = 0
        self.notes: list[str] = []

    def pack(self) -> None:
        with self._zip:
            self._directory(self._root, "", lambda: Rules.of_root(self._root))
        if self.files == 0:
            raise PackingError(f"{_shown(str(self._root))} holds no files to send, apart from what is ignored")

    def _directory(self, directory: Path, path: str, read_rules: Callable[[], Rules]) -> int:
        """Pack what is in a directory; `path` is empty for the root, else ends with `/`. Return how many entries."""
        entries = 0
        listed = self._listed(directory, path)
        rules = self._rules(read_rules)
        for entry in listed:
            is_directory = entry.is_dir(follow_symlinks=False)
            inner = path + entry.name + ("/" if is_directory else "")
            if rules.leaves_out(entry.name, inner):
                continue
            if is_directory:
                self._check_name(inner)
                if self._directory(Path(entry.path), inner, partial(rules.below, entry.name, inner)) == 0:
                    self._empty_directory(entry, inner)
                entries += 1
            else:
                entries += self._leaf(entry, inner)
        return entries

    def _listed(self, directory: Path, path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            self.notes.append(f"{_shown(path)} vanished while packing")
            return []
        except OSError as exc:
            raise PackingError(f"cannot read {_shown(path or str(directory))}: {exc.strerror}; {_LIST_IT}") from exc

    def _rules(self, read: Callable[[], Rules]) -> Rules:
        try:
            return read()
        except OSError as exc:
            raise PackingError(f"cannot read {_shown(str(exc.filename))}: {exc.strerror}") from exc

    def _leaf(self, entry: os.DirEntry[str], path: str) -> bool:
        try:
            if entry.is_symlink():
                self._check_name(path)
                self._link(entry, path)
            elif entry.is_file(follow_symlinks=False):
                self._check_name(path)
                self._file(entry, path)
            else:
                self.notes.append(f"{_shown(path)} is a socket, a pipe or a device, and was passed over")
                return False
        except FileNotFoundError:
            self.notes.append(f"{_shown(path)} vanished while packing")
            return False
        except PermissionError as exc:
            raise PackingError(f"cannot read {_shown(path)}: {exc.strerror}; {_LIST_IT}") from exc
        self.files += 1
        self._report()
        return True

    def _empty_directory(self, entry: os.DirEntry[str], path: str) -> None:
        with suppress(FileNotFoundError):
            info = _member(path, entry.stat(follow_symlinks=False))
            info.external_attr |= _DOS_DIRECTORY
            self._zip.writestr(info, b"")

    def _link(self, entry: os.DirEntry[str], path: str) -> None:
        target = os.readlink(entry.path)
        if not self._stays_inside(path, target):
            raise PackingError(
                f"the link {_shown(path)} leads out of the project, to {_shown(target)}, which a job cannot follow; "
                f"{_LIST_IT}"
            )
        self._zip.writestr(_member(path, entry.stat(follow_symlinks=False)), os.fsencode(target))

    def _stays_inside(self, path: str, target: str) -> bool:
        """By name, since the server looks at no more, and really, since a link on the way may change the meaning."""
        by_name = os.path.normpath(PurePosixPath(path).parent / target)
        if os.path.isabs(target) or by_name.split("/", 1)[0] == "..":
            return False
        return (self._root / path).parent.joinpath(target).resolve().is_relative_to(self._real_root)

    def _file(self, entry: os.DirEntry[str], path: str) -> None:
        descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as source:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(path)  # It was one when it was listed.
            info = _member(path, status)
            info.compress_type = zipfile.ZIP_DEFLATED
            # It may grow while it is read: what is read is what is sent.
            with self._zip.open(info, "w", force_zip64=status.st_size > 1024**3) as member:
                while chunk := source.read(_CHUNK):
                    member.write(chunk)
                    self.bytes += len(chunk)
                    self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self.files, self.bytes)

    def _check_name(self, path: str) -> None:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise PackingError(
                f"the name of {_shown(path)} is not valid UTF-8, which an archive cannot carry; "
                f"rename it, or {_LIST_IT}"
            ) from None


def _member(path: str, status: os.stat_result) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path, _dos_time(status.st_mtime))
    info.create_system = _UNIX
    info.external_attr = status.st_mode << 16
    return info


def _dos_time(mtime: float) -> tuple[int, int, int, int, int, int]:
    try:
        moment = time.gmtime(mtime)[:6]
    except (OverflowError, ValueError, OSError):
        return _LATEST if mtime > 0 else _EARLIEST
    return min(max(moment, _EARLIEST), _LATEST)


def _shown(path: str) -> str:
    """Return a path for a message, with bytes that are no text made visible."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
