"""Transactions commit in another order than that in which they begin; a reader of the outbox misses none."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ci_common.jobs import Job
from ci_persistence.database import Operation, Session
from ci_persistence.postgresql.database import PostgreSQLDatabase
from ci_persistence.storage import Storage
from ci_persistence.stores.outbox import Cursor, Event, write_event
from tests.helpers.jobs import NOON


@pytest.fixture
async def storages(postgresql_url: str) -> AsyncIterator[list[Storage]]:
    storages = [Storage(PostgreSQLDatabase(postgresql_url)) for _ in range(2)]
    for storage in storages:
        await storage.open()
    yield storages
    for storage in storages:
        await storage.close()


def writing(job_id: str, until: asyncio.Event, begun: asyncio.Event) -> Operation[None]:
    async def operation(session: Session) -> None:
        await session.execute(*write_event(Event.QUEUED, Job(id=job_id, type="echo", submit_time=NOON)))
        begun.set()
        await until.wait()

    return operation


async def test_an_entry_behind_an_open_transaction_is_read_after_it(storages: list[Storage]) -> None:
    begun, until = asyncio.Event(), asyncio.Event()
    first, second = storages
    earlier = asyncio.create_task(first.database.write(writing("earlier", until, begun)))
    await begun.wait()
    now = asyncio.Event()
    now.set()
    await second.database.write(writing("later", now, begun))
    assert await second.outbox.read(Cursor(), limit=10) == []
    until.set()
    await earlier
    entries = await second.outbox.read(Cursor(), limit=10)
    assert [entry.job_id for entry in entries] == ["earlier", "later"]
    assert await second.outbox.read(entries[0].cursor, limit=10) == entries[1:]
