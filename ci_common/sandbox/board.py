"""Memory that a reader shares with the process it reads for, with the names of the files that it has opened last.

It outlives the reader, so that the file is known which a reader was killed over.
"""

import mmap
import os
import struct
from collections.abc import Iterable

_BYTES = 32 * 1024
_NAME_BYTES = 3 * 1024
_LENGTH = struct.Struct("=I")
_NAMES_FROM = 8
_NAMES_MOST = _BYTES - _NAMES_FROM


class Board:
    """A flag, and names, the newest one first. Every process that has the descriptor sees the same ones."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _BYTES)

    @classmethod
    def create(cls) -> "Board":
        """Return a board in new memory. Raises OSError."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("reader-board", os.MFD_CLOEXEC)
        else:
            import tempfile

            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, _BYTES)
        return cls(descriptor)

    @property
    def flag(self) -> bool:
        return self._memory[_LENGTH.size] != 0

    @flag.setter
    def flag(self, value: bool) -> None:
        self._memory[_LENGTH.size] = value

    def write(self, names: Iterable[str]) -> None:
        """Replace the names."""
        content = b"\0".join(os.fsencode(name)[:_NAME_BYTES] for name in names)[:_NAMES_MOST]
        self._memory[_NAMES_FROM : _NAMES_FROM + len(content)] = content
        self._memory[: _LENGTH.size] = _LENGTH.pack(len(content))

    def read(self) -> list[str]:
        """Return the names."""
        length = min(_LENGTH.unpack(self._memory[: _LENGTH.size])[0], _NAMES_MOST)
        content = self._memory[_NAMES_FROM : _NAMES_FROM + length]
        return [os.fsdecode(name) for name in content.split(b"\0") if name]

    def close(self) -> None:
        """Let go of the memory in this process. May be called twice."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.descriptor)
