"""The frames in which a server gets the files that it lacks."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ci_client.errors import PackingError
from ci_client.escapes import visible
from ci_client.packing.reading import ReadError, opened, read_some
from ci_client.packing.tree import LIST_IT, Leaf
from ci_common.manifests.entries import Entry
from ci_common.manifests.packs import compressed, frame_sizes, packed


class ProjectChanged(Exception):
    """A file has changed since it was scanned. Scan again."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame to be sent: parts of files, one after the other."""

    parts: tuple[tuple[Entry, int, int], ...]
    """A file, and where in it the part begins and ends."""

    @property
    def size(self) -> int:
        return sum(end - begin for _, begin, end in self.parts)


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload that the server has begun to receive."""

    path: str
    frames: list[Frame]
    is_received: bool = False
    """Whether the server has said that it has all of them."""


def frame_of(entries: Sequence[Entry]) -> Frame:
    """Return the frame that has the whole contents of these files."""
    return Frame(tuple((entry, 0, entry.size) for entry in entries))


def frames_to_send(entries: Sequence[Entry]) -> list[Frame]:
    """Return the frames that have the contents of these files."""
    frames: list[Frame] = []
    for pack in packed([entry.size for entry in entries]):
        sizes = frame_sizes(sum(entries[number].size for number in pack))
        if len(sizes) == 1:
            frames.append(frame_of(entries[pack.start : pack.stop]))
            continue
        begin = 0
        for size in sizes:
            frames.append(Frame(((entries[pack.start], begin, begin + size),)))
            begin += size
    return frames


def read_frame(root: Path, frame: Frame, contents: Sequence[bytes | None] = ()) -> bytes:
    """Return a frame as it is sent; `contents` are those of its parts that have been read already.

    Raises ProjectChanged, PackingError.
    """
    known = contents or [None] * len(frame.parts)
    parts = zip(frame.parts, known, strict=True)
    return compressed(b"".join([_read_part(root, *part) if content is None else content for part, content in parts]))


def _read_part(root: Path, entry: Entry, begin: int, end: int) -> bytes:
    try:
        with opened(Leaf(entry.path, f"{root}/{entry.path}", is_link=False)) as (descriptor, _):
            if begin:
                os.lseek(descriptor, begin, os.SEEK_SET)
            content = b""
            while len(content) < end - begin and (more := read_some(descriptor, end - begin - len(content))):
                content += more
    except ReadError as exc:
        raise PackingError(f"cannot read {visible(entry.path)}: {exc}; {LIST_IT}") from exc
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise ProjectChanged(f"{visible(entry.path)} vanished while it was sent") from exc
    is_whole = end - begin == entry.size
    if len(content) < end - begin or (is_whole and sha256(content).hexdigest() != entry.content):
        raise ProjectChanged(f"{visible(entry.path)} changed while it was sent")
    return content
