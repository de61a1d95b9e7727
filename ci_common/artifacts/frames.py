"""Compressed contents of which any part can be read: Zstandard's seekable format.

The content is cut into frames that are compressed one by one. A table at the end says how long each is, in a frame that
decompressors skip, so `zstd -d` reads the file as any other. The format:
https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
"""

import os
import struct
import threading
from bisect import bisect_right
from itertools import accumulate
from typing import Final

import zstandard

_LEVEL: Final = 3
_SMALLEST: Final = 4096
_SAMPLE: Final = 64 * 1024
_WORTH_IT: Final = 0.8
_SKIPPABLE: Final = 0x184D2A5E
_SEEKABLE: Final = 0x8F92EAB1
_HEADER: Final = struct.Struct("<II")
_ENTRY: Final = struct.Struct("<II")
_FOOTER: Final = struct.Struct("<IBI")
_MOST_FRAMES: Final = 16 * 1024**2
_samplers: Final = threading.local()


def pays(beginning: bytes) -> bool:
    """Return whether compressing a content that begins like this saves at least a fifth."""
    if len(beginning) < _SMALLEST:
        return False
    sample = beginning[:_SAMPLE]
    return len(_sampler().compress(sample)) < _WORTH_IT * len(sample)


def _sampler() -> zstandard.ZstdCompressor:
    """Return a compressor that this thread alone uses, since making one takes longer than most samples do."""
    if (compressor := getattr(_samplers, "compressor", None)) is None:
        compressor = _samplers.compressor = zstandard.ZstdCompressor(level=1)
    return compressor


class FrameWriter:
    """Compresses a content that comes in chunks, each of which becomes a frame."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self._table: list[tuple[int, int]] = []

    def frame(self, chunk: bytes) -> bytes:
        """Return the frame of the next chunk."""
        frame = self._compressor.compress(chunk)
        self._table.append((len(frame), len(chunk)))
        return frame

    def end(self) -> bytes:
        """Return what stands behind the last frame."""
        entries = b"".join(_ENTRY.pack(*entry) for entry in self._table)
        footer = _FOOTER.pack(len(self._table), 0, _SEEKABLE)
        return _HEADER.pack(_SKIPPABLE, len(entries) + len(footer)) + entries + footer


class FrameReader:
    """Reads any part of an open file that a FrameWriter has made. Raises OSError for one that is damaged."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        end = os.fstat(descriptor).st_size
        footer = os.pread(descriptor, _FOOTER.size, max(0, end - _FOOTER.size))
        if len(footer) < _FOOTER.size:
            raise _damaged()
        number, kind, magic = _FOOTER.unpack(footer)
        length = number * _ENTRY.size
        if magic != _SEEKABLE or kind or number > _MOST_FRAMES or length + _FOOTER.size + _HEADER.size > end:
            raise _damaged()
        table = os.pread(descriptor, length, end - _FOOTER.size - length)
        entries = list(_ENTRY.iter_unpack(table))
        self._places = [0, *accumulate(entry[0] for entry in entries)]
        self._starts = [0, *accumulate(entry[1] for entry in entries)]
        self.size = self._starts[-1]

    def read(self, start: int, end: int) -> bytes:
        """Return bytes from `start` on, up to the end of their frame or up to `end`; nothing at the end."""
        number = bisect_right(self._starts, start) - 1
        if start >= min(end, self.size):
            return b""
        frame = os.pread(self._descriptor, self._places[number + 1] - self._places[number], self._places[number])
        length = self._starts[number + 1] - self._starts[number]
        try:
            content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=length)
        except zstandard.ZstdError as exc:
            raise _damaged() from exc
        if len(content) != length:
            raise _damaged()
        return content[start - self._starts[number] : end - self._starts[number]]


def _damaged() -> OSError:
    return OSError("a compressed content of the artifact store is damaged")
