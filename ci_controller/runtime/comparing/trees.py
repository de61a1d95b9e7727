"""What is in a tree of files: read from an archive that the engine makes of a container, or from a directory.

Whatever a setup wrote may be in it, so nothing is followed, opened for writing or taken as a number of bytes to keep.
"""

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from ci_controller.runtime.comparing.noise import LONGEST, normaliser_of, without_prompt

MOST = 500_000
_CHUNK = 1 << 20
_OF_THE_ENGINE = frozenset(
    {".dockerenv", "run/.containerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev", "proc", "sys"}
)
"""What the engine puts into every container."""
_KINDS = {
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.FIFOTYPE: "pipe",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
}


class TooMany(Exception):
    """A tree has more than `MOST` entries."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory, link or device."""

    kind: str
    content: str = ""
    """The digest of a file, what a link leads to, or the numbers of a device."""
    mode: int = 0
    owner: tuple[int, int] = (0, 0)


Tree = dict[str, Entry]
"""By path, relative to the root."""


def tree_of_archive(stream: IO[bytes]) -> Tree:
    """Return the tree in an archive, which is read once. Raises TooMany, tarfile.TarError, OSError."""
    tree: Tree = {}
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # Else it would keep all of them.
            path = member.name.strip("/").removeprefix("./")
            if path in ("", ".") or path in _OF_THE_ENGINE or path.partition("/")[0] in _OF_THE_ENGINE:
                continue
            _check(tree)
            if member.islnk():
                tree[path] = tree.get(member.linkname.strip("/").removeprefix("./"), Entry("hard link to nothing"))
            else:
                tree[path] = _entry(archive, member, path)
    return tree


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Entry:
    kind = _KINDS.get(member.type, "file")
    content = ""
    if kind == "link":
        content = member.linkname
    elif kind == "device":
        content = f"{member.type!r} {member.devmajor}:{member.devminor}"
    elif kind == "file":
        file = archive.extractfile(member)
        assert file is not None, "every other kind is known"
        content = _digest(file.read, member.size, path)
    return Entry(kind, content, stat.S_IMODE(member.mode), (member.uid, member.gid))


def tree_of_directory(root: str, place: bytes) -> Tree:
    """Return the tree below `root`, with nothing in the place of each name of `place`. Raises TooMany, OSError.

    `place` is where it lay when it was made, which its files may name. Both are whole directories of ours.
    """
    tree: Tree = {}
    for folder, _, names, descriptor in _walked(root):
        for name in names:
            _check(tree)
            path = os.path.normpath(os.path.join(os.path.relpath(folder, root), name))
            state = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            tree[path] = Entry(
                *_found(name, path, state, descriptor, place), stat.S_IMODE(state.st_mode), (state.st_uid, state.st_gid)
            )
    return tree


def _walked(root: str) -> Iterator[tuple[str, list[str], list[str], int]]:
    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files, descriptor in os.fwalk(root, onerror=fail, follow_symlinks=False):
        yield folder, folders, [*folders, *files], descriptor


def _found(name: str, path: str, state: os.stat_result, descriptor: int, place: bytes) -> tuple[str, str]:
    """Return the kind of what is there, and its content."""
    if stat.S_ISDIR(state.st_mode):
        return "directory", ""
    if stat.S_ISLNK(state.st_mode):
        target = os.fsencode(os.readlink(name, dir_fd=descriptor))
        return "link", os.fsdecode(target.replace(place, b""))
    if not stat.S_ISREG(state.st_mode):
        return ("pipe" if stat.S_ISFIFO(state.st_mode) else "device"), f"{state.st_rdev}"
    opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    with open(opened, "rb") as file:
        return "file", _digest(file.read, state.st_size, path, place)


def _digest(read: Callable[[int], bytes], size: int, path: str, place: bytes = b"") -> str:
    """Return the digest of a file's content, without times that say nothing and without the name of its place."""
    digest, normaliser = hashlib.sha256(), normaliser_of(path)
    if place and (prompt := without_prompt(path, place)) is not None:
        normaliser = lambda content: content.replace(*prompt)  # noqa: E731
    if normaliser is None or size > LONGEST:
        rest = b""
        while chunk := read(_CHUNK):
            content = (rest + chunk).replace(place, b"") if place else chunk
            end = max(0, len(content) - len(place) + 1) if place else len(content)
            digest.update(content[:end])
            rest = content[end:]  # A name may go on in the next piece.
        digest.update(rest)
        return digest.hexdigest()
    content = read(LONGEST + 1)
    digest.update(normaliser(content.replace(place, b"") if place else content))
    return digest.hexdigest()


def _check(tree: Tree) -> None:
    if len(tree) >= MOST:
        raise TooMany
