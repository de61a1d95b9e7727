"""Where the lines of a log begin."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from ci_server.streaming import line_indexes
from ci_server.streaming.line_index import BLOCK_BYTES, EVERY, LineIndex
from ci_server.streaming.line_indexes import FileBytes, LineIndexes
from tests.helpers.waiting import eventually

ALL = 10**9
PATIENT = 60.0


def random_log(chance: random.Random) -> bytes:
    """Return a log with stretches of lines that are empty, short, long, and longer than a block."""
    parts = []
    for _ in range(chance.randrange(1, 12)):
        length = chance.choice((0, 0, 1, 7, 90, 3_000, BLOCK_BYTES + 5))
        number = chance.choice((0, 1, 999, 1_000, 1_001, 4_321)) if length < 1_000 else chance.randrange(3)
        parts += [b"x" * (length and chance.randrange(length)) + b"\n" for _ in range(number)]
    parts.append(b"y" * chance.choice((0, 0, 3)))
    return b"".join(parts)


def lines_of(log: bytes) -> list[int]:
    """Return where each line begins."""
    starts = [0]
    for line in log.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    return [start for start in starts if start < len(log)]


@pytest.mark.parametrize("seed", range(40))
def test_the_index_is_that_of_the_lines_however_they_come(seed: int) -> None:
    chance = random.Random(seed)
    log, index = random_log(chance), LineIndex()
    starts, place = lines_of(log), 0
    while place < len(log):
        size = chance.choice((1, 5_000, BLOCK_BYTES, 3 * BLOCK_BYTES))
        index.add(log[place : place + size])
        place += size
    assert (index.extent.size, index.extent.lines) == (len(log), len(starts))
    assert index.offsets(index.extent, 1, EVERY, ALL) == starts[::EVERY]
    assert index.offsets(index.extent, 2 * EVERY + 1, 2 * EVERY, 3) == starts[2 * EVERY :: 2 * EVERY][:3]
    for offset in (0, len(log) // 2, len(log)):
        block, before = index.before(offset)
        assert before + log[block:offset].count(b"\n") == log[:offset].count(b"\n")
        assert block <= offset < block + BLOCK_BYTES


def opened(path: Path, size: int | None = None) -> FileBytes:
    whole = path.stat().st_size
    return FileBytes(os.open(path, os.O_RDONLY), whole if size is None else size, whole)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_bytes(b"line\n" * 2_500)
    return path


async def test_an_index_grows_with_its_log_and_begins_again_when_that_is_truncated(log: Path) -> None:
    indexes = LineIndexes()

    async def lines(size: int | None = None) -> tuple[LineIndex, int]:
        known = await indexes.find(("job", 1), opened(log, size), PATIENT)
        return known.index, known.extent.lines

    first, number = await lines(5_000)
    assert number == 1_000
    with log.open("ab") as file:
        file.write(b"more")
    assert await lines() == (first, 2_501)
    assert await lines(4_000) == (first, 2_501), "what was shown before stays known"
    log.write_bytes(b"new\n")
    second, number = await lines()
    assert (second is first, number) == (False, 1)


async def test_an_answer_does_not_wait_for_a_large_log_which_is_indexed_all_the_same(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes, go_on, reads = LineIndexes(), asyncio.Event(), 0

    class Slow(FileBytes):
        async def add_to(self, index: LineIndex) -> None:
            nonlocal reads
            reads += 1
            if reads > 1:
                await go_on.wait()
            await super().add_to(index)

    def slow() -> FileBytes:
        whole = log.stat().st_size
        return Slow(os.open(log, os.O_RDONLY), whole, whole)

    monkeypatch.setattr(line_indexes, "_SLICE", 5_000)
    handed = slow()
    known = await indexes.find(("job", 1), handed, 0.01)
    handed.close()
    assert (known.extent.lines, known.extent.size) == (1_000, 5_000)
    again = slow()
    assert await indexes.find(("job", 1), again, 0) is known, "a second reader begins no second count"
    again.close()
    go_on.set()
    await eventually(lambda: known.extent.lines == 2_500)
    assert known.growing is not None
    await known.growing
    with pytest.raises(OSError, match="Bad file descriptor"):
        await handed.read(0, 1)


async def test_a_log_that_cannot_be_read_is_an_error_and_is_tried_again(log: Path) -> None:
    indexes = LineIndexes()
    whole = log.stat().st_size
    with pytest.raises(OSError, match="shorter"):
        await indexes.find(("job", 1), FileBytes(os.open(log, os.O_RDONLY), whole + 1, whole + 1), PATIENT)
    assert (await indexes.find(("job", 1), opened(log), PATIENT)).extent.lines == 2_500


async def test_the_oldest_go_when_there_are_too_many(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_indexes, "_MOST_LOGS", 2)
    indexes = LineIndexes()
    first, second, _ = [await indexes.find((job, 1), opened(log), PATIENT) for job in ("a", "b", "c")]
    assert await indexes.find(("b", 1), opened(log), PATIENT) is second
    assert await indexes.find(("a", 1), opened(log), PATIENT) is not first


async def test_closing_stops_what_is_under_way(log: Path) -> None:
    class Endless(FileBytes):
        async def add_to(self, index: LineIndex) -> None:  # nothing is ever added
            await asyncio.Event().wait()

    indexes, whole = LineIndexes(), log.stat().st_size
    endless = Endless(os.open(log, os.O_RDONLY), whole, whole)
    known = await indexes.find(("job", 1), endless, 0)
    endless.close()
    await indexes.close()
    assert known.growing is not None
    assert known.growing.cancelled()
