"""The report files of an attempt: found by patterns in directories that a job may change at any moment."""

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ci_common.system.trees import Folder

MOST_FILES = 5000
MOST_ENTRIES = 500_000
MOST_DEPTH = 50
MOST_SECONDS = 20.0
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TooMuch(Exception):
    """The search was ended. The message says why."""


class Search:
    """A search for files below one directory, in which all patterns share the limits. Follows no link."""

    def __init__(self, on_folder: Callable[[], None] = lambda: None) -> None:
        self._on_folder = on_folder
        self._entries = 0
        self._files = 0
        self._until = time.monotonic() + MOST_SECONDS

    def find(self, top: Path, names: Sequence[str], pattern: str) -> Iterator[tuple[str, int]]:
        """Yield path and descriptor of each regular file that matches, in the order of their names.

        `names` lead from `top` to the directory that patterns start from. The caller closes the descriptors. Nothing
        is yielded where the directory does not exist. Raises TooMuch.
        """
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        if parts and parts[-1] == "**":
            parts.append("*")
        try:
            with Folder.opened(top) as root, root.folder(*names) as folder:
                yield from self._below(folder, parts, "")
        except (FileNotFoundError, NotADirectoryError):
            return

    def _below(self, folder: Folder, parts: list[str], path: str) -> Iterator[tuple[str, int]]:
        if not parts:
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            yield from self._below(folder, rest, path)
            for name in self._folders(folder):
                yield from self._in(folder, name, parts, path)
            return
        names = sorted(name for name in self._names(folder) if _matches(name, part)) if _is_pattern(part) else [part]
        for name in names:
            if rest:
                yield from self._in(folder, name, rest, path)
            elif (descriptor := self._opened(folder, name)) is not None:
                yield f"{path}{name}", descriptor

    def _in(self, folder: Folder, name: str, parts: list[str], path: str) -> Iterator[tuple[str, int]]:
        if path.count("/") >= MOST_DEPTH:
            raise TooMuch(f"folders lie more than {MOST_DEPTH} deep")
        try:
            inner = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=folder.descriptor)
        except OSError:
            return  # It is no directory, or none that may be read.
        try:
            self._on_folder()
            yield from self._below(Folder(inner), parts, f"{path}{name}/")
        finally:
            os.close(inner)

    def _names(self, folder: Folder) -> list[str]:
        try:
            names = os.listdir(folder.descriptor)
        except OSError:
            return []
        self._entries += len(names)
        if self._entries > MOST_ENTRIES:
            raise TooMuch(f"there are more than {MOST_ENTRIES} files and folders to look through")
        if time.monotonic() > self._until:
            raise TooMuch(f"looking for files took more than {MOST_SECONDS:g} seconds")
        return names

    def _folders(self, folder: Folder) -> list[str]:
        if time.monotonic() > self._until:
            raise TooMuch(f"looking for files took more than {MOST_SECONDS:g} seconds")
        try:
            entries = folder.entries()
        except OSError:
            return []
        self._entries += len(entries)
        if self._entries > MOST_ENTRIES:
            raise TooMuch(f"there are more than {MOST_ENTRIES} files and folders to look through")
        return sorted(entry.name for entry in entries if entry.name != ".git" and _is_folder(entry))

    def _opened(self, folder: Folder, name: str) -> int | None:
        try:
            descriptor = os.open(name, _FLAGS, dir_fd=folder.descriptor)
        except OSError:
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        self._files += 1
        if self._files > MOST_FILES:
            os.close(descriptor)
            raise TooMuch(f"there are more than {MOST_FILES} report files")
        return descriptor


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_pattern(part: str) -> bool:
    return any(character in part for character in "*?[")


def _matches(name: str, part: str) -> bool:
    return fnmatchcase(name, part) and (not name.startswith(".") or part.startswith("."))
