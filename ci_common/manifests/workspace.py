"""Writes the files of an upload, which are not trusted, into a workspace.

Nothing is written outside of it: links are made last, and no file is opened through one.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from ci_common.archives.members import shortened
from ci_common.errors import InvalidUpload
from ci_common.manifests.entries import EXECUTABLE, FOLDER, LINK, Entry
from ci_common.manifests.packs import frames_of

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
Advance = Callable[[int], None]
"""Called before so many bytes are written. An error that it raises ends the writing."""
Placed = tuple[int, Entry]
"""A file and the offset of its content in a pack."""


def make_folders(workspace: Path, entries: Iterable[Entry]) -> None:
    """Make the folders of a tree, as far as they do not exist. Raises OSError."""
    made = {""}

    def make(folder: str) -> None:
        missing = []
        while folder not in made:
            made.add(folder)
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for each in reversed(missing):
            try:
                os.mkdir(f"{workspace}/{each}")
            except FileExistsError:
                pass

    for entry in entries:
        make(entry.path if entry.kind == FOLDER else entry.path.rpartition("/")[0])


def write_empty(workspace: Path, entries: Iterable[Entry]) -> None:
    """Write the files that have no content. Raises OSError."""
    for entry in entries:
        if entry.is_file and not entry.size:
            os.close(_created(workspace, entry))


def make_links(workspace: Path, entries: Iterable[Entry]) -> None:
    """Make the links of a tree. Must come last. Raises OSError."""
    for entry in entries:
        if entry.kind == LINK:
            try:
                os.symlink(entry.target, f"{workspace}/{entry.path}")
            except FileExistsError:
                os.unlink(f"{workspace}/{entry.path}")
                os.symlink(entry.target, f"{workspace}/{entry.path}")


def write_files(workspace: Path, pack: Path, size: int, files: list[Placed], advance: Advance) -> None:
    """Write those files whose contents are in a pack of `size` bytes, and check their digests.

    Raises InvalidUpload, OSError.
    """
    for placed, chunks in _by_content(pack, size, files):
        _write(workspace, placed, chunks, advance)


def _write(workspace: Path, entries: list[Entry], chunks: Iterable[memoryview], advance: Advance) -> None:
    digest = sha256()
    descriptors = [_created(workspace, entry) for entry in entries]
    try:
        for chunk in chunks:
            digest.update(chunk)
            for descriptor in descriptors:
                advance(len(chunk))
                rest = chunk
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    if digest.hexdigest() != entries[0].content:
        raise InvalidUpload(
            f"what was sent for {shortened(entries[0].path)} does not have the SHA-256 {entries[0].content} that the "
            "manifest says"
        )


def _created(workspace: Path, entry: Entry) -> int:
    path = f"{workspace}/{entry.path}"
    mode = 0o755 if entry.kind == EXECUTABLE else 0o644
    try:
        return os.open(path, _NEW_FILE, mode)
    except FileExistsError:  # An interrupted upload has left it.
        os.unlink(path)
        return os.open(path, _NEW_FILE, mode)


def _by_content(pack: Path, size: int, files: list[Placed]) -> Iterator[tuple[list[Entry], Iterable[memoryview]]]:
    """Yield the files that have the same content together, with the parts of their content."""
    frames = frames_of(pack, size)
    frame, begin = memoryview(b""), 0

    def parts(offset: int, end: int) -> Iterator[memoryview]:
        nonlocal frame, begin
        while offset < end:
            while offset >= begin + len(frame):
                begin += len(frame)
                frame = memoryview(next(frames))
            part = frame[offset - begin : end - begin]
            offset += len(part)
            yield part

    number = 0
    while number < len(files):
        offset, first = files[number]
        same = [first]
        number += 1
        while number < len(files) and files[number][0] == offset:
            same.append(files[number][1])
            number += 1
        yield same, parts(offset, offset + first.size)
    for _ in frames:
        pass  # What is wrong after the last file is found, too.


def remove_changed(
    workspace: Path, before: Mapping[str, Entry], entries: Iterable[Entry], new: Iterable[Entry]
) -> None:
    """Remove from a workspace with the tree `before`, by path, what is not so in the tree with `entries`.

    `new` are those of the entries that were not so before. Raises OSError.
    """
    after = {path: kind for path, kind, _, _ in entries}
    replaced = [before[entry.path] for entry in new if entry.path in before]
    changed = [*replaced, *(before[path] for path in before.keys() - after.keys())]
    for entry in changed:
        if entry.kind != FOLDER:
            os.unlink(f"{workspace}/{entry.path}")
    if all(entry.kind != FOLDER and entry.path in after for entry in changed):
        return  # No folder can have become empty.
    folders = {""}
    for path, kind in after.items():
        above = path if kind == FOLDER else path.rpartition("/")[0]
        while above not in folders:
            folders.add(above)
            above = above.rpartition("/")[0]
    emptied = set()
    for entry in changed:
        above = entry.path if entry.kind == FOLDER else entry.path.rpartition("/")[0]
        while above not in folders and above not in emptied:
            emptied.add(above)
            above = above.rpartition("/")[0]
    for folder in sorted(emptied, key=len, reverse=True):
        os.rmdir(f"{workspace}/{folder}")
