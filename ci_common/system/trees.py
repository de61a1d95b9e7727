"""Directories and files that a job may change at any moment.

A job can replace anything in its run directory, for example by a link to another place. So nothing in there is listed,
measured, moved, deleted or given another mode by a path. Each operation names one entry of a directory that is already
open, and follows no symbolic link.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Self

from ci_common.jobs import new_job_id
from ci_common.run_directory.attributes import allow_changes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_Change = Callable[[int], int]
_NAME_ONLY = getattr(os, "O_PATH", None)
"""Opens an entry only to change its mode; only Linux has it."""


class Folder:
    """An open directory. Names are those of its own entries, never paths; all methods raise OSError."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """Open the directory at `path`. Links are followed in the names above it, but not in the last one.

        Raises FileNotFoundError, and NotADirectoryError if it is not a directory.
        """
        descriptor = os.open(path, _DIRECTORY)
        try:
            yield cls(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def folder(self, *names: str) -> Iterator["Folder"]:
        """Open the directory `names[0]`, in it `names[1]` and so on; one descriptor is open at the end."""
        descriptor = os.dup(self.descriptor)
        try:
            for name in names:
                inner = os.open(name, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield Folder(descriptor)
        finally:
            os.close(descriptor)

    def names(self) -> set[str]:
        """Return the names of all entries."""
        return set(os.listdir(self.descriptor))

    def entries(self) -> "list[os.DirEntry[str]]":
        """Return all entries. Only their `name`, `is_dir` and `stat` may be used, without following links."""
        with os.scandir(self.descriptor) as entries:
            return list(entries)

    def state(self, name: str) -> os.stat_result | None:
        """Return the state of an entry (of a link itself), or None if there is no such entry."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def has_folder(self, name: str) -> bool:
        """Return whether an entry is a directory."""
        state = self.state(name)
        return state is not None and stat.S_ISDIR(state.st_mode)

    def make_folder(self, name: str) -> None:
        """Make a directory, unless there is one; anything else with that name is deleted."""
        self._delete_other_than(stat.S_ISDIR, name)
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=self.descriptor)

    def make_fifo(self, name: str) -> None:
        """Make a FIFO, unless there is one; anything else with that name is deleted."""
        self._delete_other_than(stat.S_ISFIFO, name)
        with suppress(FileExistsError):
            os.mkfifo(name, dir_fd=self.descriptor)

    def make_file(self, name: str) -> None:
        """Make an empty file, unless there is a file; anything else with that name is deleted."""
        self._delete_other_than(stat.S_ISREG, name)
        with suppress(FileExistsError):
            os.close(self.create(name, 0o666))

    def _delete_other_than(self, is_kind: Callable[[int], bool], name: str) -> None:
        state = self.state(name)
        if state is not None and not is_kind(state.st_mode):
            self.delete(name)

    def create(self, name: str, mode: int) -> int:
        """Make a file and return its descriptor, open for writing. Raises FileExistsError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, mode, dir_fd=self.descriptor)

    def write(self, name: str, content: bytes, *, mode: int = 0o666, for_everyone: bool = False) -> None:
        """Write a file with this content, replacing what has the name. It is replaced as a whole or not at all."""
        # A unique name: a controller that was stopped in here may continue beside its successor.
        draft = f"{name}.{new_job_id()}"
        with open(self.create(draft, mode), "wb") as file:
            file.write(content)
            if for_everyone:
                os.fchmod(file.fileno(), 0o666)
        self.move(draft, self, name)

    def move(self, name: str, to: "Folder", new_name: str) -> None:
        """Move an entry (a link itself), replacing a file or an empty directory with the new name."""
        os.rename(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=to.descriptor)

    def walk(self, *, lenient: bool = False) -> Iterator["Folder"]:
        """Yield this folder and all below, each open until the next. With `lenient`, skip those that cannot be opened.

        Few descriptors are open at once, at any depth.
        """
        yield self
        ways: list[tuple[str, ...]] = [(name,) for name in self._folders()]
        while ways:
            way = ways.pop()
            try:
                with self.folder(*way) as folder:
                    yield folder
                    ways += [(*way, name) for name in folder._folders()]
            except OSError:
                if not lenient:
                    raise

    def _folders(self) -> list[str]:
        return [entry.name for entry in self.entries() if entry.is_dir(follow_symlinks=False)]

    def open_to_everyone(self) -> None:
        """Let all users of the machine write to this folder and to everything below."""
        for folder in self.walk():
            os.fchmod(folder.descriptor, stat.S_IMODE(os.fstat(folder.descriptor).st_mode) | 0o777)
            for entry in folder.entries():
                folder._change_mode(entry.name, _for_everyone)

    def _change_mode(self, name: str, changed: _Change) -> None:
        """Give an entry, unless it is a link, the mode that `changed` returns for its current one."""
        if _NAME_ONLY is None:  # This system can change a mode by name without following links.
            state = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            if not stat.S_ISLNK(state.st_mode) and changed(state.st_mode) != stat.S_IMODE(state.st_mode):
                os.chmod(name, changed(state.st_mode), dir_fd=self.descriptor, follow_symlinks=False)
            return
        descriptor = os.open(name, _NAME_ONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISLNK(mode) and changed(mode) != stat.S_IMODE(mode):
                os.chmod(f"/proc/self/fd/{descriptor}", changed(mode))
        finally:
            os.close(descriptor)

    def delete(self, name: str) -> None:
        """Delete an entry, if there is one, with everything in it. Directories are made writable if necessary.

        A link is deleted and not followed. Raises OSError if something is left.
        """
        if self.has_folder(name):
            self._change_mode(name, _writable)
            with suppress(NotADirectoryError), self.folder(name) as top:
                top._empty()
        self._unlink(name)

    def remove_if_empty(self, name: str) -> bool:
        """Remove a directory that is empty, and return whether it was one. Costs less than `delete`."""
        try:
            os.rmdir(name, dir_fd=self.descriptor)
        except OSError:
            return False
        return True

    def _unlink(self, name: str) -> None:
        """Remove a file or an empty directory; a job may have replaced it since it was listed."""
        with suppress(FileNotFoundError):
            if self.has_folder(name):
                os.rmdir(name, dir_fd=self.descriptor)
            else:
                unlink(name, dir_fd=self.descriptor)

    def _empty(self) -> None:
        # Folders are moved to the top before they are emptied, so that neither recursion nor descriptors limit depth.
        names = (f".deleting-{number}" for number in count())
        ways = self._delete_files(self, names)
        while ways:
            name = ways.pop()
            self._change_mode(name, _writable)
            with suppress(NotADirectoryError), self.folder(name) as folder:
                ways += folder._delete_files(self, names)
            self._unlink(name)

    def _delete_files(self, top: "Folder", names: Iterator[str]) -> list[str]:
        """Delete all files; move all directories into `top` and return their names."""
        folders = []
        for entry in self.entries():
            if not entry.is_dir(follow_symlinks=False):
                self._unlink(entry.name)
            elif self is top:
                folders.append(entry.name)
            else:
                self._change_mode(entry.name, _writable)  # To move a directory is to write into it.
                free = next(name for name in names if top.state(name) is None)
                self.move(entry.name, top, free)
                folders.append(free)
        return folders


def _writable(mode: int) -> int:
    """Return a mode with which the owner can empty a directory that has `mode`."""
    return stat.S_IMODE(mode) if mode & 0o700 == 0o700 else 0o700


def _for_everyone(mode: int) -> int:
    """Return a mode with which all users can write an entry that has `mode`, and execute it if its owner can."""
    more = 0o777 if stat.S_ISDIR(mode) else 0o666 | (0o111 if mode & 0o100 else 0)
    return stat.S_IMODE(mode) | more


def delete_tree(path: Path) -> None:
    """Delete what is at `path`, if anything; a link is not followed. Raises OSError if something is left."""
    with ExitStack() as stack:
        try:
            parent = stack.enter_context(Folder.opened(path.parent))
        except FileNotFoundError:
            return
        parent.delete(path.name)


def unlink(path: str | Path, *, dir_fd: int | None = None) -> None:
    """Remove a file, even if it is append-only; `dir_fd` as in `allow_changes`. Raises OSError."""
    try:
        os.unlink(path, dir_fd=dir_fd)
    except PermissionError as exc:
        if exc.errno != errno.EPERM or not allow_changes(path, dir_fd=dir_fd):
            raise
        os.unlink(path, dir_fd=dir_fd)
