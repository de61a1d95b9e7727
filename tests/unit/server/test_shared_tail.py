"""One tail for all readers of a job: what is read, what is held, and what is sent to whom."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ci_common.run_directory.layout import RunDirectory
from ci_common.system.watch import FileWatcher
from ci_server.streaming import shared_tail
from ci_server.streaming.attempt_files import AttemptFiles
from tests.helpers.waiting import eventually
from tests.unit.server.shared_tails import RECENT, Connection, World, all_at_head

LINE = b"a line of a log that many people read at once\n"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    run = RunDirectory(tmp_path / "1")
    run.path.mkdir()
    run.log.touch()
    async with FileWatcher() as watcher:
        world = World(run, watcher)
        with world.tails.ending_with_the_server():
            yield world


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """What is read of logs: position and length, where there was anything."""
    seen: list[tuple[int, int]] = []
    read = AttemptFiles.read

    def noted(files: AttemptFiles, position: int, size: int, **more: bool) -> bytes:
        data = read(files, position, size, **more)
        if data:
            seen.append((position, len(data)))
        return data

    monkeypatch.setattr(AttemptFiles, "read", noted)
    return seen


async def test_a_log_is_read_once_however_many_read_it(world: World, reads: list[tuple[int, int]]) -> None:
    connections = [world.join()[0] for _ in range(100)]
    await all_at_head(connections)
    for _ in range(20):
        world.write(LINE)
        await eventually(lambda: all(connection.position == len(world.log) for connection in connections))
    world.finish()
    await eventually(lambda: all(connection.over for connection in connections))
    assert len({position for position, _ in reads}) == len(reads)
    assert sum(length for _, length in reads) == len(world.log)
    assert len({bytes(connection.received) for connection in connections}) == 1


async def test_who_comes_to_a_long_log_one_after_the_other_shares_what_was_read(
    world: World, reads: list[tuple[int, int]]
) -> None:
    world.write(LINE * 10_000)
    connections = [world.join()[0] for _ in range(20)]
    await all_at_head(connections)
    assert all(connection.log == world.log for connection in connections)
    assert len({position for position, _ in reads}) == len(reads)


async def test_a_reader_without_room_holds_nothing_loses_nothing_and_holds_up_nobody(world: World) -> None:
    (slow, _), (quick, _) = world.join(), world.join()
    await all_at_head([slow, quick])
    slow.room.clear()
    for _ in range(20):
        world.write(LINE * 2000)
        await eventually(lambda: quick.position == len(world.log))
        assert slow.waiting < shared_tail.PROBED_BYTES
        assert world.recent.size <= RECENT
    assert slow.log == b""
    slow.room.set()
    world.finish()
    await eventually(lambda: slow.over and quick.over)
    assert slow.log == quick.log == world.log


async def test_readers_that_wait_cost_no_task_and_no_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, read = [], AttemptFiles.read

    def noted(files: AttemptFiles, offset: int, size: int, **more: bool) -> bytes:
        if size > 0:
            reads.append(offset)
        return read(files, offset, size, **more)

    monkeypatch.setattr(AttemptFiles, "read", noted)
    first, _ = world.join()
    await all_at_head([first])
    before = len(asyncio.all_tasks()), len(reads)
    await all_at_head([world.join()[0] for _ in range(50)])
    await eventually(lambda: len(asyncio.all_tasks()) == before[0])
    assert len(reads) == before[1], "nothing was written, so nothing is read"


async def test_every_reader_gets_everything_whenever_it_comes_and_has_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_tail, "PROBED_BYTES", 300)
    for module in ("attempt_files", "event_source"):
        monkeypatch.setattr(f"ci_server.streaming.{module}.CHUNK_BYTES", 4096)
    chance = random.Random(7)
    readers: list[tuple[Connection, int]] = []
    for _ in range(60):
        if chance.random() < 0.3:
            start = chance.choice([0, len(world.log), chance.randint(0, len(world.log))])
            readers.append((world.join(start)[0], start))
        for connection, _ in readers:
            if chance.random() < 0.3:
                (connection.room.set if chance.random() < 0.6 else connection.room.clear)()
        world.write(b"%d\n" % chance.randint(0, 999) * chance.choice([1, 10, 3000]))
        for _ in range(chance.randint(0, 5)):
            await asyncio.sleep(0)
    world.finish()
    for connection, _ in readers:
        connection.room.set()
    await eventually(lambda: all(connection.over for connection, _ in readers))
    for connection, start in readers:
        assert connection.log == world.log[start:]
        assert connection.events[-1]["type"] == "complete"


async def test_a_reader_that_knows_more_than_the_tail_waits_for_it(world: World) -> None:
    """As one does whose last id came from another server on the same directory."""
    first, _ = world.join()
    await all_at_head([first])
    ahead, _ = world.join(position=2 * len(LINE))
    world.write(LINE * 3)
    await eventually(lambda: ahead.log == LINE)
    assert first.log == LINE * 3


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("far", [1, 100_000, 10**17])
async def test_a_reader_of_a_place_that_the_log_never_had_holds_up_nobody(world: World, far: int, others: int) -> None:
    world.write(LINE)
    before = [world.join()[0] for _ in range(others)]
    await all_at_head(before)
    lost, _ = world.join(len(LINE) + far)
    await all_at_head([lost])
    after, _ = world.join()
    await all_at_head([after])
    world.write(LINE)
    await eventually(lambda: all(reader.log == LINE * 2 for reader in (*before, after)))
    await eventually(lambda: lost.log == LINE)
    world.finish()
    await eventually(lambda: all(reader.over for reader in (*before, lost, after)))


@pytest.mark.parametrize("left", [b"", LINE])
async def test_a_log_that_is_truncated_is_read_on_from_its_end(world: World, left: bytes) -> None:
    world.write(LINE * 10)
    before, _ = world.join()
    await eventually(lambda: before.log == LINE * 10)
    world.run.log.write_bytes(left)
    after, _ = world.join()
    await all_at_head([before, after])
    world.write(b"more\n")
    await eventually(lambda: before.log == LINE * 10 + b"more\n")
    await eventually(lambda: after.log == left + b"more\n")


async def test_all_streams_end_where_the_job_is_deleted_or_the_server_leaves(world: World) -> None:
    for end in (lambda: world.database.followers[0].on_row(None), world.shutdown.start):
        world.write(LINE)
        (quick, tail), (slow, _) = world.join(), world.join()
        await all_at_head([quick, slow])
        slow.room.clear()
        end()
        await eventually(lambda quick=quick: quick.over)
        slow.room.set()
        await eventually(lambda slow=slow: slow.over)
        assert "complete" not in str(quick.received)
        tail.leave(quick.reader)
        tail.leave(slow.reader)


async def test_who_leaves_is_sent_nothing_more_and_the_last_ends_the_tail(world: World) -> None:
    (one, tail), (two, _) = world.join(), world.join()
    await all_at_head([one, two])
    tail.leave(one.reader)
    world.write(LINE)
    await eventually(lambda: two.log == LINE)
    assert one.log == b""
    tail.leave(two.reader)
    await eventually(lambda: not world.database.followers)
    assert world.join()[1] is not tail


async def test_pings_go_to_those_who_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_server.streaming.streams.PING_SECONDS", 0.01)
    (one, _), (two, _) = world.join(), world.join()
    await eventually(lambda: all(connection.received.count(b": ping\n\n") > 2 for connection in (one, two)))


async def test_a_request_whose_client_does_not_read_ends_soon_after_the_server_leaves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci_server.streaming.streams.GRACE_SECONDS", 0.01)
    joined: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

    async def request() -> None:
        connection, tail = world.join()
        joined.set_result(connection)
        try:
            await asyncio.Event().wait()
        finally:
            tail.leave(connection.reader)

    requesting = asyncio.create_task(request())
    connection = await joined
    await all_at_head([connection])
    connection.room.clear()
    world.shutdown.start()
    await asyncio.wait([requesting])
    assert connection.reader.abandoned
    assert not connection.over
