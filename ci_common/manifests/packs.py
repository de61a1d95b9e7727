"""Packs: the contents of files, compressed in frames.

A pack is a sequence of frames, each with its length before it. All but the last frame of a pack hold FRAME_BYTES.
Either a pack has one file of more than that, or several that fit into one frame. Both sides compute from the sizes of
the files which packs and frames there are, so a frame is named by its number.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from ci_common.errors import InvalidUpload

FRAME_BYTES: Final = 8 * 1024**2
LENGTH: Final = struct.Struct(">I")
_LEVEL = 3
_WINDOW_LOG = 23
"""Within a window of 2**_WINDOW_LOG bytes, a whole frame, files can share what they have in common."""
_PARAMETERS = zstandard.ZstdCompressionParameters.from_level(_LEVEL, window_log=_WINDOW_LOG, write_content_size=True)


def packed(sizes: Sequence[int]) -> list[range]:
    """Return which files, by their place in `sizes`, go into each pack."""
    packs: list[range] = []
    start, held = 0, 0
    for number, size in enumerate(sizes):
        if number > start and held + size > FRAME_BYTES:
            packs.append(range(start, number))
            start, held = number, 0
        held += size
    if start < len(sizes):
        packs.append(range(start, len(sizes)))
    return packs


def frame_sizes(size: int) -> list[int]:
    """Return the sizes of the frames of a pack with so many bytes."""
    whole, rest = divmod(size, FRAME_BYTES)
    return [FRAME_BYTES] * whole + ([rest] if rest else [])


def longest_frame(size: int) -> int:
    """Return the most bytes that a frame of `size` bytes can have when it is compressed."""
    return size + size // 128 + 1024


def compressed(content: bytes) -> bytes:
    """Return a frame with its length before it."""
    frame = zstandard.ZstdCompressor(compression_params=_PARAMETERS).compress(content)
    return LENGTH.pack(len(frame)) + frame


def decompressed(frame: bytes, size: int) -> bytes:
    """Return the content of a frame, which must have `size` bytes. Raises InvalidUpload."""
    try:
        # Read first: the decompressor allocates what the frame claims.
        if zstandard.get_frame_parameters(frame).content_size != size:
            raise InvalidUpload(f"a frame of the upload does not hold the {size} bytes that the manifest says")
        content = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG).decompress(
            frame, read_across_frames=False, allow_extra_data=False
        )
    except zstandard.ZstdError as exc:
        raise InvalidUpload(f"a frame of the upload cannot be decompressed: {exc}") from exc
    if len(content) != size:
        raise InvalidUpload(f"a frame of the upload holds {len(content)} bytes, and the manifest says {size}")
    return content


def frames_of(pack: Path, size: int) -> Iterator[bytes]:
    """Yield the contents of the frames of a pack with `size` bytes in all. Raises InvalidUpload, OSError."""
    with pack.open("rb") as file:
        for expected in frame_sizes(size):
            yield decompressed(_next_frame(file, expected), expected)
        if file.read(1):
            raise InvalidUpload("a pack of the upload is longer than its frames")


def _next_frame(file: BinaryIO, size: int) -> bytes:
    head = file.read(LENGTH.size)
    length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
    if not 0 < length <= longest_frame(size):
        raise InvalidUpload("a pack of the upload breaks off, or has a frame that is too long")
    frame = file.read(length)
    if len(frame) < length:
        raise InvalidUpload("a pack of the upload breaks off")
    return frame


def whole_frames(pack: Path, sizes: Iterable[int]) -> tuple[int, int]:
    """Return how many frames of an unfinished pack are whole, and how many bytes they have. Raises OSError."""
    count = end = 0
    with pack.open("rb") as file:
        for size in sizes:
            try:
                frame = _next_frame(file, size)
            except InvalidUpload:
                break
            count, end = count + 1, end + LENGTH.size + len(frame)
    return count, end


def compressed_text(text: str) -> bytes:
    """Return a manifest as it is sent."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(text.encode())


def decompressed_text(raw: bytes, most_bytes: int) -> str:
    """Return a manifest that was sent. Raises InvalidUpload if it is none, or has more than `most_bytes`."""
    try:
        size = zstandard.get_frame_parameters(raw).content_size
        if size > most_bytes:
            raise InvalidUpload(
                f"the manifest must be one zstd frame that states its size, of at most {most_bytes} bytes "
                "(CI_MAX_MEMBERS)"
            )
        content = zstandard.ZstdDecompressor().decompress(raw, read_across_frames=False, allow_extra_data=False)
        return content.decode()
    except (zstandard.ZstdError, UnicodeDecodeError) as exc:
        raise InvalidUpload(f"the manifest is not UTF-8 in a zstd frame: {exc}") from exc
