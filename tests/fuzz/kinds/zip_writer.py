"""Writes zip archives field by field, so that each header can say what it likes."""

import struct
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate

LINK, FOLDER, REGULAR, EXECUTABLE = 0o120777, 0o040755, 0o100644, 0o100755
UNIX = 3


@dataclass
class Member:
    """One member. What is None is worked out from the content, and is the truth."""

    name: bytes
    content: bytes = b""
    mode: int = REGULAR
    system: int = UNIX
    method: int = 0
    flags: int = 0x800
    crc: int | None = None
    packed: int | None = None
    size: int | None = None
    offset: int | None = None
    local_name: bytes | None = None
    local_flags: int | None = None
    local_size: int | None = None
    extra: bytes = b""
    attributes: int | None = None
    comment: bytes = b""
    version: int = 20
    is_absent: bool = False
    """Only the list of members has it; with `offset` it shares another's content."""
    data: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        self.data = self.content
        if self.method == 8:
            self.data = _deflated(self.content)

    def _common(self, name: bytes, flags: int, size: int) -> bytes:
        crc = _crc(self.content) if self.crc is None else self.crc
        packed = len(self.data) if self.packed is None else self.packed
        lengths = (packed & 0xFFFFFFFF, size & 0xFFFFFFFF, len(name), len(self.extra))
        return struct.pack("<HHHHHIIIHH", self.version, flags, self.method, 0, 0x21, crc & 0xFFFFFFFF, *lengths)

    @property
    def _size(self) -> int:
        return len(self.content) if self.size is None else self.size

    def local(self) -> bytes:
        """Return the header before the content, and the content."""
        if self.is_absent:
            return b""
        name = self.name if self.local_name is None else self.local_name
        flags = self.flags if self.local_flags is None else self.local_flags
        size = self._size if self.local_size is None else self.local_size
        return b"PK\3\4" + self._common(name, flags, size) + name + self.extra + self.data

    def central(self, offset: int) -> bytes:
        """Return the entry in the list of members."""
        offset = offset if self.offset is None else self.offset
        attributes = self.mode << 16 if self.attributes is None else self.attributes
        head = struct.pack("<H", self.version | self.system << 8) + self._common(self.name, self.flags, self._size)
        tail = struct.pack("<HHHII", len(self.comment), 0, 0, attributes & 0xFFFFFFFF, offset & 0xFFFFFFFF)
        return b"PK\1\2" + head + tail + self.name + self.extra + self.comment


@dataclass
class Ending:
    """The end of the archive. What is None is the truth."""

    members: int | None = None
    size: int | None = None
    offset: int | None = None
    disk: int = 0
    comment: bytes = b""
    zip64: bytes = b""
    """Put before it."""
    prefix: bytes = b""
    """Put before the archive."""
    suffix: bytes = b""


@lru_cache(maxsize=8)
def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


@lru_cache(maxsize=8)
def _crc(content: bytes) -> int:
    return zlib.crc32(content)


def archive_of(members: list[Member], ending: Ending) -> bytes:
    """Return the archive."""
    places = list(accumulate((len(member.local()) for member in members), initial=0))
    data = b"".join(member.local() for member in members)
    entries = b"".join(member.central(place) for member, place in zip(members, places, strict=False))
    number = len(members) if ending.members is None else ending.members
    size = len(entries) if ending.size is None else ending.size
    offset = len(data) if ending.offset is None else ending.offset
    counts = (ending.disk, ending.disk, number & 0xFFFF, number & 0xFFFF, size & 0xFFFFFFFF, offset & 0xFFFFFFFF)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", *counts, len(ending.comment)) + ending.comment
    return ending.prefix + data + entries + ending.zip64 + end + ending.suffix
