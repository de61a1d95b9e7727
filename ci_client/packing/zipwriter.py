"""Writes zip archives of many small files quickly: `zipfile` takes longer for a member's records than for its content.

Members are written in the order in which they are added, without data descriptors, so every zip reader can read them.
ZIP64 records are written only if they are needed.
"""

import struct
import time
import zlib
from dataclasses import dataclass
from typing import BinaryIO

STORED, DEFLATED = 0, 8
LEVEL = 1
"""The compression level. More does not pay for an archive that is sent once."""

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_UTF8_NAME = 0x800
_MADE_ON_UNIX = 3 << 8 | 20
_VERSION, _VERSION_64 = 20, 45
_DOS_DIRECTORY = 0x10
_SAMPLED_FROM = 16 * 1024
_SAMPLE = 2 * 1024
_WORTH_IT = 0.97
_MOST = 0xFFFFFFFF
_MOST_MEMBERS = 0xFFFF
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_LATEST = (2107, 12, 31, 23, 59, 58)


@dataclass(frozen=True, slots=True)
class About:
    """A member's metadata."""

    path: str
    """Ends with `/` for a directory."""
    mode: int
    """Type and permissions, as in `st_mode`."""
    mtime: float


@dataclass(frozen=True, slots=True)
class Content:
    """A member's content, ready to be written."""

    data: bytes
    method: int
    size: int
    checksum: int

    @classmethod
    def of(cls, raw: bytes) -> "Content":
        """Return the content, compressed if that makes it smaller."""
        data = zlib.compress(raw, LEVEL, -zlib.MAX_WBITS) if raw and is_worth_compressing(raw) else raw
        if len(data) >= len(raw):
            return cls.stored(raw)
        return cls(data, DEFLATED, len(raw), zlib.crc32(raw))

    @classmethod
    def stored(cls, raw: bytes) -> "Content":
        """Return the content uncompressed."""
        return cls(raw, STORED, len(raw), zlib.crc32(raw))


def is_worth_compressing(raw: bytes) -> bool:
    """Return whether content is likely to get smaller, by samples of it; images and archives do not."""
    if len(raw) <= _SAMPLED_FROM:
        return True
    middle = len(raw) // 2
    sample = raw[:_SAMPLE] + raw[middle : middle + _SAMPLE]
    return len(zlib.compress(sample, LEVEL)) < _WORTH_IT * len(sample)


class ZipWriter:
    """Writes an archive to a seekable file. Finish with `close`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self._central: list[bytes] = []

    def add(self, about: About, content: Content) -> None:
        """Write a member."""
        head = _Head(about, content.method, content.checksum, len(content.data), content.size)
        local = head.local()
        self._file.write(local)
        self._file.write(content.data)
        self._central.append(head.central(self._offset))
        self._offset += len(local) + len(content.data)

    def begin(self, about: About, *, may_be_large: bool, method: int) -> "Member":
        """Begin a member whose content comes in pieces. Call its `close` before the next member begins."""
        return Member(self, about, may_be_large=may_be_large, method=method)

    def close(self) -> None:
        """Write the central directory."""
        start, size, count = self._offset, sum(map(len, self._central)), len(self._central)
        self._file.write(b"".join(self._central))
        if count >= _MOST_MEMBERS or _is_beyond(start) or _is_beyond(size):
            end = _END_64.pack(b"PK\6\6", 44, _MADE_ON_UNIX, _VERSION_64, 0, 0, count, count, size, start)
            self._file.write(end + _LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1))
        count = min(count, _MOST_MEMBERS)
        self._file.write(_END.pack(b"PK\5\6", 0, 0, count, count, _narrow(size), _narrow(start), 0))


class Member:
    """A member that is written in pieces. `close` fills in its sizes."""

    def __init__(self, writer: ZipWriter, about: About, *, may_be_large: bool, method: int) -> None:
        self._writer, self._about, self._method, self._is_large = writer, about, method, may_be_large
        self._packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS) if method == DEFLATED else None
        self._checksum = self._size = self._packed = 0
        writer._file.write(self._head().local())

    def write(self, raw: bytes) -> None:
        """Write a piece of the content. Raises OverflowError if the member exceeds what its record can hold."""
        self._checksum = zlib.crc32(raw, self._checksum)
        self._size += len(raw)
        self._put(self._packer.compress(raw) if self._packer is not None else raw)
        if not self._is_large and _is_beyond(max(self._size, self._packed)):
            raise OverflowError(self._about.path)

    def close(self) -> None:
        """End the member."""
        if self._packer is not None:
            self._put(self._packer.flush())
        writer, head = self._writer, self._head()
        local = head.local()
        writer._file.seek(writer._offset)
        writer._file.write(local)
        writer._central.append(head.central(writer._offset))
        writer._offset += len(local) + self._packed
        writer._file.seek(writer._offset)

    def _put(self, data: bytes) -> None:
        self._packed += len(data)
        self._writer._file.write(data)

    def _head(self) -> "_Head":
        return _Head(self._about, self._method, self._checksum, self._packed, self._size, self._is_large)


class _Head:
    """The two records of a member: the local header and the one in the central directory."""

    def __init__(
        self, about: About, method: int, checksum: int, packed: int, size: int, is_large: bool = False
    ) -> None:
        self._name = about.path.encode()
        flags = 0 if about.path.isascii() else _UTF8_NAME
        self._common = (flags, method, *_dos_time(about.mtime), checksum)
        self._attributes = (about.mode & 0xFFFF) << 16 | (_DOS_DIRECTORY if about.path.endswith("/") else 0)
        self._packed, self._size, self._is_large = packed, size, is_large

    def local(self) -> bytes:
        sizes, extra = (self._packed, self._size), b""
        if self._is_large:
            sizes, extra = (_MOST, _MOST), struct.pack("<2H2Q", 1, 16, self._size, self._packed)
        version = _VERSION_64 if self._is_large else _VERSION
        names = (len(self._name), len(extra))
        return _LOCAL.pack(b"PK\3\4", version, *self._common, *sizes, *names) + self._name + extra

    def central(self, offset: int) -> bytes:
        wide = [number for number in (self._size, self._packed, offset) if _is_beyond(number)]
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        version = _VERSION_64 if wide or self._is_large else _VERSION
        sizes = (_narrow(self._packed), _narrow(self._size))
        place = (len(self._name), len(extra), 0, 0, 0, self._attributes, _narrow(offset))
        made = max(_MADE_ON_UNIX, 3 << 8 | version)
        return _CENTRAL.pack(b"PK\1\2", made, version, *self._common, *sizes, *place) + self._name + extra


def _is_beyond(number: int) -> bool:
    """Return whether a number needs a ZIP64 record."""
    return number >= _MOST


def _narrow(number: int) -> int:
    """Return the number for a 32-bit field, or the mark for a ZIP64 record."""
    return _MOST if _is_beyond(number) else number


def _dos_time(mtime: float) -> tuple[int, int]:
    try:
        moment = time.gmtime(mtime)[:6]
    except (OverflowError, ValueError, OSError):
        moment = _LATEST if mtime > 0 else _EARLIEST
    year, month, day, hour, minute, second = min(max(moment, _EARLIEST), _LATEST)
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day
