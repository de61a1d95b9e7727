"""Directories by their descriptors: what is done in one is done there, wherever its name leads by then.

A job can replace anything in its run directory at any moment, for example by a link to another place. So nothing in
there is listed, measured, moved, deleted or given another mode by a path. Each step names one entry of a directory that
is already open, and follows no symbolic link.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Self

from ci_common.jobs import new_job_id
from ci_common.system.append_only import unlink

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_Change = Callable[[int], int]
_NAME_ONLY = getattr(os, "O_PATH", None)
"""Opens an entry without reading it, as a mode can be changed by; only Linux has it."""


class Folder:
    """An open directory. Names are those of its own entries, never paths; all methods raise OSError."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """Open the directory at `path`, where the last name is not followed and those above are trusted.

        Raises FileNotFoundError, and NotADirectoryError where anything but a directory is there.
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
        """Return all entries, as they are now. Of each, `name`, `is_dir` and `stat` may be used, without following."""
        with os.scandir(self.descriptor) as entries:
            return list(entries)

    def state(self, name: str) -> os.stat_result | None:
        """Return the state of an entry, of a link itself, or None where there is none."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def has_folder(self, name: str) -> bool:
        """Tell whether an entry is a directory."""
        state = self.state(name)
        return state is not None and stat.S_ISDIR(state.st_mode)

    def make_folder(self, name: str) -> None:
        """Make a directory, where there is none; anything else that has the name is deleted."""
        self._delete_other_than(stat.S_ISDIR, name)
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=self.descriptor)

    def make_fifo(self, name: str) -> None:
        """Make a FIFO, where there is none; anything else that has the name is deleted."""
        self._delete_other_than(stat.S_ISFIFO, name)
        with suppress(FileExistsError):
            os.mkfifo(name, dir_fd=self.descriptor)

    def make_file(self, name: str) -> None:
        """Make an empty file, where there is none; anything that has the name and is no file is deleted."""
        self._delete_other_than(stat.S_ISREG, name)
        with suppress(FileExistsError):
            os.close(self.create(name, 0o666))

    def _delete_other_than(self, is_kind: Callable[[int], bool], name: str) -> None:
        state = self.state(name)
        if state is not None and not is_kind(state.st_mode):
            self.delete(name)

    def create(self, name: str, mode: int) -> int:
        """Make a file where nothing has the name, and return its descriptor, open for writing."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, mode, dir_fd=self.descriptor)

    def write(self, name: str, content: bytes, *, for_everyone: bool = False) -> None:
        """Put a file there with this content, in the place of what has the name; it is whole or as it was before."""
        # A name of its own: a controller that was stopped in here may go on beside the one that followed it.
        draft = f"{name}.{new_job_id()}"
        with open(self.create(draft, 0o666), "wb") as file:
            file.write(content)
            if for_everyone:
                os.fchmod(file.fileno(), 0o666)
        self.move(draft, self, name)

    def move(self, name: str, to: "Folder", new_name: str) -> None:
        """Move an entry, a link as itself, in the place of a file or an empty directory that has the new name."""
        os.rename(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=to.descriptor)

    def walk(self, *, lenient: bool = False) -> Iterator["Folder"]:
        """Yield this folder and all below, each open until the next. With `lenient`, what cannot be opened is left out.

        However deep it goes, few descriptors are open at once.
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
        """Let any user of the machine write to this folder and to everything below."""
        for folder in self.walk():
            os.fchmod(folder.descriptor, stat.S_IMODE(os.fstat(folder.descriptor).st_mode) | 0o777)
            for entry in folder.entries():
                folder._change_mode(entry.name, _for_everyone)

    def _change_mode(self, name: str, changed: _Change) -> None:
        """Give an entry, unless it is a link, the mode that `changed` makes of its present one."""
        if _NAME_ONLY is None:  # A system that gives a mode by name without following.
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
        """Delete an entry, if there is one, with all that is in it. Directories that are not writable are made so.

        A link is deleted, and not followed. Raises OSError where something is left.
        """
        if self.has_folder(name):
            self._change_mode(name, _writable)
            with suppress(NotADirectoryError), self.folder(name) as top:
                top._empty()
        self._unlink(name)

    def _unlink(self, name: str) -> None:
        """Remove an entry, which may be an empty directory; what it is can have changed since it was looked at."""
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
        """Delete what is no directory; return the names of the directories, which all are in `top` then."""
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
    """Return the mode with which its owner can empty a directory of this mode."""
    return stat.S_IMODE(mode) if mode & 0o700 == 0o700 else 0o700


def _for_everyone(mode: int) -> int:
    """Return the mode with which everyone can write an entry of this mode, and run what its owner can run."""
    more = 0o777 if stat.S_ISDIR(mode) else 0o666 | (0o111 if mode & 0o100 else 0)
    return stat.S_IMODE(mode) | more


def delete_tree(path: Path) -> None:
    """Delete what is at `path`, if anything is; a link is deleted, and not followed. Raises as `Folder.delete` does."""
    with ExitStack() as stack:
        try:
            parent = stack.enter_context(Folder.opened(path.parent))
        except FileNotFoundError:
            return
        parent.delete(path.name)
