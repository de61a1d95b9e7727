"""Writes a file as it is received, with the disk at work meanwhile."""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Protocol, Self

BLOCK_BYTES = 1024 * 1024
_SYNC_BYTES = 8 * 1024 * 1024
"""How much is written before the disk is made to take it: what is left at the end takes little time."""


class Digest(Protocol):
    """What is added up over a file's bytes, such as one of hashlib."""

    def update(self, data: bytes, /) -> None: ...


class BlockWriter:
    """Writes and digests blocks in a thread, one while the next one is received, and has another one synchronise them.

    A slow disk holds up nobody but the sender: no more than two blocks are in memory. The descriptor must stay open
    until the context is left, which waits for the threads.
    """

    def __init__(self, descriptor: int, digest: Digest, on_written: Callable[[int], None]) -> None:
        """`on_written` takes the size of each block that has been written, and may raise."""
        self._descriptor = descriptor
        self._digest = digest
        self._on_written = on_written
        self._writing: asyncio.Task[int] | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._unsynced = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if under_way := {task for task in (self._writing, self._syncing) if task is not None}:
            await asyncio.wait(under_way)

    async def write(self, chunks: Sequence[bytes]) -> None:
        """Write a block once the one before is written. Raises OSError, and what `on_written` raises."""
        await self._written()
        self._writing = asyncio.create_task(asyncio.to_thread(self._write, chunks))

    async def finish(self) -> None:
        """Return once everything is written; what is left to synchronise is little. Raises as `write` does."""
        await self._written()
        if self._syncing is not None:
            await self._syncing

    async def _written(self) -> None:
        if self._writing is None:
            return
        size = await self._writing
        self._writing = None
        self._on_written(size)
        self._unsynced += size
        if self._unsynced >= _SYNC_BYTES and (self._syncing is None or self._syncing.done()):
            if self._syncing is not None:
                self._syncing.result()
            self._syncing = asyncio.create_task(asyncio.to_thread(os.fsync, self._descriptor))
            self._unsynced = 0

    def _write(self, chunks: Sequence[bytes]) -> int:
        """Write the block and add it to the digest; return its size."""
        block = b"".join(chunks)
        self._digest.update(block)
        view = memoryview(block)
        while view:
            view = view[os.write(self._descriptor, view) :]
        return len(block)
