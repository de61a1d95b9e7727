"""What is received is written in order, digested, and mostly on the disk at the end; what the disk refuses is told."""

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from ci_server.uploads.staging import BLOCK_BYTES, BlockWriter

MANY = 21


def block(number: int) -> list[bytes]:
    half = BLOCK_BYTES // 2
    return [bytes([number]) * half, bytes([number + 100]) * half]


async def test_everything_is_written_digested_counted_and_most_of_it_synchronised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, counted, synced, real_fsync = hashlib.sha256(), list[int](), list[int](), os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with (tmp_path / "file").open("xb", buffering=0) as file:
        async with BlockWriter(file.fileno(), digest, counted.append) as writer:
            for number in range(MANY):
                await writer.write(block(number))
            await writer.write([])
            await writer.finish()
    content = (tmp_path / "file").read_bytes()
    assert content == b"".join(piece for number in range(MANY) for piece in block(number))
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()
    assert sum(counted) == len(content)
    assert synced, "nothing was synchronised before the end"


async def test_a_disk_that_fails_meanwhile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(errno.EIO, "the disk is broken")]
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with (tmp_path / "file").open("xb", buffering=0) as file:

        async def write_all() -> None:
            async with BlockWriter(file.fileno(), hashlib.sha256(), lambda _: None) as writer:
                for number in range(MANY):
                    await writer.write(block(number))
                await writer.finish()

        with pytest.raises(OSError, match="the disk is broken"):
            await write_all()


async def test_whoever_leaves_waits_for_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Event(), threading.Event()
    real_write = os.write

    def write(descriptor: int, data: memoryview) -> int:
        begun.set()
        ended.wait(0.2)  # The context has until then to be left too early.
        written = real_write(descriptor, data)
        ended.set()
        return written

    monkeypatch.setattr(os, "write", write)
    with (tmp_path / "file").open("xb", buffering=0) as file:

        async def give_up() -> None:
            async with BlockWriter(file.fileno(), hashlib.sha256(), lambda _: None) as writer:
                await writer.write([b"x"])
                raise RuntimeError("given up")

        with pytest.raises(RuntimeError, match="given up"):
            await give_up()
        assert ended.is_set()
