"""The stream of changes for many readers, and for slow ones."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from ci_common.jobs import Job
from ci_persistence.open import sqlite_storage
from ci_persistence.storage import Storage
from ci_persistence.stores.outbox import Cursor, Entry
from ci_server.http.exchange import Shutdown
from ci_server.streaming.feed_events import Wanted
from ci_server.streaming.job_feed import JobFeed
from tests.helpers.jobs import PLENTY, new_job
from tests.helpers.waiting import eventually
from tests.unit.server.shared_tails import Connection

ALL = Wanted(None)


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    storage = sqlite_storage(tmp_path / "jobs.db")
    await storage.open()
    yield storage
    await storage.close()


def ids(connection: Connection) -> list[str]:
    return [event["job"]["job_id"] for event in connection.events if event["type"] == "job"]


async def add(storage: Storage) -> str:
    return (await storage.jobs.add(new_job(), max_queued=PLENTY)).id


async def test_a_change_is_read_once_for_all_readers(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, read, get_many = 0, storage.outbox.read, storage.jobs.get_many
    entries: list[str] = []

    async def counted_read(after: Cursor, *, limit: int) -> list[Entry]:
        found = await read(after, limit=limit)
        entries.extend(entry.job_id for entry in found)
        return found

    async def counted_rows(job_ids: Iterable[str]) -> dict[str, Job]:
        nonlocal rows
        rows += 1
        return await get_many(job_ids)

    monkeypatch.setattr(storage.outbox, "read", counted_read)
    monkeypatch.setattr(storage.jobs, "get_many", counted_rows)
    feed = JobFeed(storage.outbox, storage.jobs, Shutdown())
    connections = [Connection() for _ in range(200)]
    with feed.ending_with_the_server():
        for connection in connections:
            feed.join(connection.reader, ALL, None)
        await eventually(lambda: all(connection.events for connection in connections), "all have begun")
        job_id = await add(storage)
        await eventually(lambda: all(ids(connection) == [job_id] for connection in connections), "all have the change")
        assert (entries, rows) == ([job_id], 1)


async def test_a_slow_reader_delays_no_other_and_misses_nothing(storage: Storage) -> None:
    feed = JobFeed(storage.outbox, storage.jobs, Shutdown())
    slow, fast = Connection(), Connection()
    with feed.ending_with_the_server():
        for connection in (slow, fast):
            feed.join(connection.reader, ALL, None)
        await eventually(lambda: slow.events and fast.events, "both have begun")
        slow.room.clear()
        added = []
        for number in range(1, 6):
            added.append(await add(storage))
            await eventually(lambda number=number: len(ids(fast)) == number, "the fast one goes on")  # type: ignore[misc]
        assert ids(slow) == []
        slow.room.set()
        await eventually(lambda: len(ids(slow)) == 5, "the slow one has caught up")
        added.append(await add(storage))
        await eventually(lambda: ids(slow) == ids(fast) == added, "both are at the head")


async def test_the_last_reader_ends_the_reading_and_the_next_begins_it_again(storage: Storage) -> None:
    feed = JobFeed(storage.outbox, storage.jobs, Shutdown())
    for _ in range(2):
        connection = Connection()
        joined = feed.join(connection.reader, ALL, None)
        await eventually(lambda connection=connection: connection.events, "it has begun")  # type: ignore[misc]
        job_id = await add(storage)
        await eventually(lambda c=connection, job_id=job_id: ids(c) == [job_id], "it has the change")  # type: ignore[misc]
        feed.leave(joined)
        assert feed.readers == 0
