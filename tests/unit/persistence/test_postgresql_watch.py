"""Notifications make changes quicker to see, and their absence changes nothing else."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

import psycopg
import pytest

from ci_common.errors import Unavailable
from ci_persistence.database import Operation, Session
from ci_persistence.postgresql import commit_watch
from ci_persistence.postgresql.connections import Server
from ci_persistence.postgresql.database import PostgreSQLDatabase
from ci_selftest.faults.database_proxy import Proxy
from tests.contracts.database_suite import count, increase, insert
from tests.helpers.postgresql.server import PostgreSQLServer, running_pooler
from tests.helpers.waiting import PATIENCE, eventually


@pytest.fixture
async def other(postgresql_url: str) -> AsyncIterator[PostgreSQLDatabase]:
    """What another process has."""
    other = PostgreSQLDatabase(postgresql_url)
    await other.open()
    yield other
    await other.close()


@pytest.fixture(scope="module")
def pooler(postgresql_server: PostgreSQLServer) -> Iterator[int]:
    with running_pooler(postgresql_server) as port:
        yield port


def through(url: str, server: PostgreSQLServer, port: int) -> str:
    return url.replace(f":{server.port}/", f":{port}/")


def listeners(server: PostgreSQLServer, url: str) -> int:
    """Return how many connections to the database listen."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND starts_with(query, 'LISTEN')"
    found = server.run(query, values=[url.rpartition("/")[2]])
    return int(found[0][0])


async def test_a_notification_is_quicker_than_the_poll(
    postgresql_server: PostgreSQLServer, postgresql_url: str, other: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = PostgreSQLDatabase(postgresql_url)
    monkeypatch.setattr(database._notifier._watch, "_poll_seconds", 10 * PATIENCE)
    await database.open()
    async with aclosing(database.changes()) as changes, asyncio.timeout(PATIENCE):
        await anext(changes)
        await eventually(lambda: listeners(postgresql_server, postgresql_url))
        for number in range(3):
            waiting = asyncio.ensure_future(anext(changes))
            await other.write(insert(str(number)))
            await waiting
    await database.close()


async def test_own_notifications_and_commits_that_were_notified_cause_no_second_yield(
    postgresql_server: PostgreSQLServer, postgresql_url: str, other: PostgreSQLDatabase
) -> None:
    database = PostgreSQLDatabase(postgresql_url)
    await database.open()
    yields = 0
    async with aclosing(database.changes(lambda _: None)) as changes:
        await anext(changes)
        await eventually(lambda: listeners(postgresql_server, postgresql_url))

        def own(number: int) -> Operation[None]:
            async def operation(session: Session) -> None:
                await insert(f"own {number}")(session)

            return operation

        async def yielded() -> None:
            nonlocal yields
            while True:
                await anext(changes)
                yields += 1

        counting = asyncio.create_task(yielded())
        for number in range(5):
            await database.write(own(number))
        await other.write(insert("theirs"))
        await eventually(lambda: yields == 1)
        await asyncio.sleep(2.5 * commit_watch._POLL_SECONDS)
        assert yields == 1
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
    await database.close()


async def test_behind_a_pooler_everything_works_and_changes_are_polled_for(
    postgresql_server: PostgreSQLServer,
    postgresql_url: str,
    other: PostgreSQLDatabase,
    pooler: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(commit_watch, "_RECONNECT_SECONDS", 0.05)
    url = through(postgresql_url, postgresql_server, pooler)
    database = PostgreSQLDatabase(url)
    monkeypatch.setattr(database._notifier._watch, "_probe_seconds", 0.5)
    await database.open()
    await asyncio.gather(*(database.write(insert(str(number))) for number in range(50)))
    assert await asyncio.gather(*(database.read(count, snapshot=True) for _ in range(50))) == [50] * 50
    for first in (2, 52):
        chains = (database.write(increase("0")) for _ in range(50))
        assert await asyncio.gather(*chains) == [*range(first, first + 50)]
    async with aclosing(database.changes()) as changes, asyncio.timeout(PATIENCE):
        await anext(changes)
        await eventually(lambda: "CI_DATABASE_LISTEN_URL" in caplog.text)
        waiting = asyncio.ensure_future(anext(changes))
        await other.write(insert("theirs"))
        await waiting
        assert await database.read(count) == 51
    assert caplog.text.count("CI_DATABASE_LISTEN_URL") == 1
    await database.close()


async def test_statements_are_prepared_only_without_a_pooler(
    postgresql_server: PostgreSQLServer, postgresql_url: str, pooler: int
) -> None:
    direct = await Server(postgresql_url).connect(prepares=True)
    pooled = await Server(through(postgresql_url, postgresql_server, pooler)).connect(prepares=True)
    assert (direct.prepare_threshold is None, pooled.prepare_threshold is None) == (False, True)
    await direct.close()
    await pooled.close()


async def test_behind_a_pooler_a_direct_address_to_listen_at_brings_notifications(
    postgresql_server: PostgreSQLServer,
    postgresql_url: str,
    other: PostgreSQLDatabase,
    pooler: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = through(postgresql_url, postgresql_server, pooler)
    database = PostgreSQLDatabase(url, listen_url=postgresql_url)
    watch = database._notifier._watch
    monkeypatch.setattr(watch, "_poll_seconds", 10 * PATIENCE)
    monkeypatch.setattr(watch, "_probe_seconds", 0.3)
    await database.open()
    async with aclosing(database.changes()) as changes, asyncio.timeout(PATIENCE):
        await anext(changes)
        await eventually(lambda: listeners(postgresql_server, postgresql_url))
        waiting = asyncio.ensure_future(anext(changes))
        await other.write(insert("theirs"))
        await waiting
        await asyncio.sleep(1)
        assert "CI_DATABASE_LISTEN_URL" not in caplog.text
    await database.close()


async def test_a_listening_connection_that_is_dead_without_being_closed_is_replaced(
    postgresql_server: PostgreSQLServer,
    postgresql_url: str,
    other: PostgreSQLDatabase,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(commit_watch, "_RECONNECT_SECONDS", 0.05)
    async with Proxy(postgresql_server.port).run() as proxy:
        listen_url = through(postgresql_url, postgresql_server, proxy.port)
        database = PostgreSQLDatabase(postgresql_url, listen_url=listen_url)
        watch = database._notifier._watch
        monkeypatch.setattr(watch, "_poll_seconds", 10 * PATIENCE)
        monkeypatch.setattr(watch, "_probe_seconds", 0.5)
        await database.open()
        async with aclosing(database.changes()) as changes, asyncio.timeout(PATIENCE):
            await anext(changes)
            await eventually(lambda: listeners(postgresql_server, postgresql_url))
            waiting = asyncio.ensure_future(anext(changes))
            await other.write(insert("0"))
            await waiting
            connections = proxy.connections
            proxy.may_forward.clear()
            await eventually(lambda: proxy.connections > connections)
            waiting = asyncio.ensure_future(anext(changes))
            await other.write(insert("1"))
            proxy.may_forward.set()
            await waiting
        assert "CI_DATABASE_LISTEN_URL" not in caplog.text
        await database.close()


async def test_a_listener_that_cannot_connect_is_no_failure(
    postgresql_url: str, other: PostgreSQLDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    database = PostgreSQLDatabase(postgresql_url, listen_url="postgresql://u@127.0.0.1:1/x")
    await database.open()
    async with aclosing(database.changes()) as changes, asyncio.timeout(PATIENCE):
        await anext(changes)
        with caplog.at_level(logging.INFO):
            waiting = asyncio.ensure_future(anext(changes))
            await other.write(insert("0"))
            await waiting
            await eventually(lambda: "notifications of the database are interrupted" in caplog.text)
    await database.close()


async def exhaust(changes: AsyncGenerator[None, None]) -> None:
    async for _ in changes:
        pass


async def test_changes_end_when_the_database_is_closed(postgresql_url: str) -> None:
    database = PostgreSQLDatabase(postgresql_url)
    await database.open()
    async with aclosing(database.changes()) as changes, asyncio.timeout(PATIENCE):
        await anext(changes)
        await database.close()
        with pytest.raises(Unavailable, match="closed"):
            await exhaust(changes)


async def test_another_programs_notification_is_a_change(
    postgresql_server: PostgreSQLServer, postgresql_url: str
) -> None:
    database = PostgreSQLDatabase(postgresql_url)
    await database.open()
    async with aclosing(database.changes()) as changes, asyncio.timeout(PATIENCE):
        await anext(changes)
        await eventually(lambda: listeners(postgresql_server, postgresql_url))
        waiting = asyncio.ensure_future(anext(changes))
        with psycopg.connect(postgresql_url, autocommit=True) as theirs:
            theirs.execute("NOTIFY ci_server")
        began = time.monotonic()
        await waiting
        assert time.monotonic() - began < PATIENCE
    await database.close()
