"""A server that is stopped, killed, restarted or cut off in the middle of everything."""

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Literal

import pytest

from ci_common.errors import DatabaseUnavailable, NoRoom, Unavailable
from ci_persistence.database import Session
from ci_persistence.dialects import Statement
from ci_persistence.postgresql import database as database_module
from ci_persistence.postgresql.connections import Connection, Disconnected, Server
from ci_persistence.postgresql.database import PostgreSQLDatabase
from ci_persistence.postgresql.schema import bring_up_to_date
from ci_selftest.faults.database_proxy import AtCommit, Proxy
from tests.contracts.database_suite import count, insert, names
from tests.helpers.machine import small_volume
from tests.helpers.postgresql.server import PostgreSQLServer, running_copy, running_server
from tests.helpers.waiting import PATIENCE, eventually

FILL = Statement("INSERT INTO counters SELECT repeat(CAST(n AS text), 20), n FROM generate_series(1, 1000000) AS n")
SLEEP = Statement("SELECT CAST(pg_sleep(:seconds) AS text) AS slept")


@pytest.fixture(scope="module")
def durable_server() -> Iterator[PostgreSQLServer]:
    with running_server(durable=True) as server:
        yield server


@pytest.fixture
def server(durable_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """A server that a test may stop."""
    yield durable_server
    if not durable_server.is_running():
        durable_server.start()


@pytest.fixture
def url(server: PostgreSQLServer) -> str:
    return server.url(server.create_database())


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgreSQLDatabase]:
    database = PostgreSQLDatabase(url, patience=30)
    await database.open()
    yield database
    await database.close()


async def stored(database: PostgreSQLDatabase, number: int) -> str | None:
    """Write a row, however often that takes; return its name, or None where nothing is known of it."""
    try:
        return await database.write(insert(f"{number:06}", notify=number % 2 == 0))
    except DatabaseUnavailable as exc:
        await asyncio.sleep(0.01)
        return None if "is not known" in str(exc) else ""
    except ValueError:
        raise AssertionError("an operation was committed twice") from None


@pytest.mark.parametrize("how", ["kill", "immediate", "fast", "terminate"])
async def test_what_was_confirmed_is_there_and_what_failed_is_not(
    database: PostgreSQLDatabase,
    server: PostgreSQLServer,
    url: str,
    how: Literal["kill", "immediate", "fast", "terminate"],
) -> None:
    confirmed: list[str] = []
    refused: list[str] = []
    is_over = False

    async def write(first: int) -> None:
        number = first
        while not is_over:
            outcome = await stored(database, number)
            if outcome is not None:
                (confirmed if outcome else refused).append(f"{number:06}")
            number += 8

    writing = [asyncio.create_task(write(number)) for number in range(8)]
    for _ in range(3):
        before = len(confirmed)
        await eventually(lambda before=before: len(confirmed) > before + 50)  # type: ignore[misc]
        match how:
            case "kill":
                await asyncio.to_thread(server.kill)
                await server.start_again()
            case "terminate":
                await asyncio.to_thread(server.end_connections, url.rpartition("/")[2])
            case mode:
                await asyncio.to_thread(server.stop, mode)
                await server.start_again()
    before = len(confirmed)
    await eventually(lambda: len(confirmed) > before + 50)
    is_over = True
    await asyncio.gather(*writing)
    found = set(await database.read(names))
    assert set(confirmed) <= found
    assert not set(refused) & found


async def test_readers_get_an_answer_or_unavailable_and_need_no_help(
    database: PostgreSQLDatabase, server: PostgreSQLServer
) -> None:
    await database.write(insert("a"))

    async def sleep(session: Session) -> int:
        await session.rows(SLEEP, {"seconds": 60.0})
        return 1

    sleeping = [asyncio.create_task(database.read(sleep)) for _ in range(4)]
    waiting = [asyncio.create_task(database.read(count)) for _ in range(20)]
    await asyncio.sleep(0.2)
    await asyncio.to_thread(server.stop, "immediate")
    outcomes = await asyncio.wait_for(asyncio.gather(*sleeping, *waiting, return_exceptions=True), PATIENCE)
    assert all(isinstance(outcome, DatabaseUnavailable) for outcome in outcomes), outcomes
    with pytest.raises(DatabaseUnavailable, match=r"no connection to the database .* (refused|closed)"):
        await database.read(count)
    with pytest.raises(DatabaseUnavailable):
        await database.write(insert("b"))
    await server.start_again()
    assert await database.read(count) == 1
    assert await database.write(insert("c")) == "c"


async def test_idle_connections_that_the_server_has_ended_harm_no_read(
    database: PostgreSQLDatabase, server: PostgreSQLServer, url: str
) -> None:
    await database.write(insert("a"))
    await asyncio.gather(*(database.read(count) for _ in range(10)))
    assert server.end_connections(url.rpartition("/")[2]) >= 5
    assert await asyncio.gather(*(database.read(count) for _ in range(10))) == [1] * 10
    assert await database.write(insert("b")) == "b"


async def test_changes_go_on_after_a_restart(
    database: PostgreSQLDatabase, server: PostgreSQLServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = PostgreSQLDatabase(url)
    await other.open()
    async with aclosing(database.changes()) as changes, asyncio.timeout(PATIENCE):
        await anext(changes)
        with caplog.at_level(logging.INFO):
            await asyncio.to_thread(server.stop, "fast")
            await anext(changes)
            with pytest.raises(Unavailable):
                await database.read(count)
            await server.start_again()
            await eventually(lambda: "can be seen again" in caplog.text)
        await anext(changes)
        for number in range(2):
            await other.write(insert(str(number), notify=False))
            while await database.read(count) <= number:
                await anext(changes)
            waiting = asyncio.ensure_future(anext(changes))
            await other.write(insert(f"more {number}", notify=True))
            await waiting
            await other.write(DELETE_MORE)
    await other.close()


async def DELETE_MORE(session: Session) -> None:  # noqa: N802
    await session.execute(Statement("DELETE FROM counters WHERE name LIKE 'more%'"))


async def test_opening_waits_for_a_server_that_comes_later(server: PostgreSQLServer, url: str) -> None:
    server.stop()
    database = PostgreSQLDatabase(url)
    opening = asyncio.create_task(database.open())
    await asyncio.sleep(0.3)
    await server.start_again()
    await opening
    assert await database.read(count) == 0
    await database.close()


@pytest.mark.parametrize(
    "reason",
    [
        "terminating connection due to administrator command",
        "the database system is not yet accepting connections",
        "the database system is shutting down",
    ],
)
async def test_opening_waits_where_a_server_refuses_for_a_while(
    url: str, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    connect, refused = Server.connect, []

    async def refused_at_first(server: Server, **options: bool) -> Connection:
        if not refused:
            refused.append(reason)
            raise server.unavailable(f"connection failed: FATAL: {reason}")
        return await connect(server, **options)

    monkeypatch.setattr(Server, "connect", refused_at_first)
    database = PostgreSQLDatabase(url)
    await database.open()
    assert await database.read(count) == 0
    await database.close()
    assert refused


async def test_opening_gives_up(server: PostgreSQLServer, url: str) -> None:
    server.stop()
    database = PostgreSQLDatabase(url, patience=2)
    with pytest.raises(
        DatabaseUnavailable, match=f"no connection to the database .* at 127.0.0.1:{server.port}: .*refused"
    ):
        await database.open()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await database.read(count)


async def test_a_server_that_does_not_answer(server: PostgreSQLServer, url: str) -> None:
    async with Proxy(server.port).run() as proxy:
        database = PostgreSQLDatabase(url.replace(f":{server.port}/", f":{proxy.port}/"), patience=1)
        await database.open()
        await database.write(insert("a"))
        assert await database.read(count) == 1
        proxy.may_forward.clear()
        async with asyncio.timeout(PATIENCE):
            reading = asyncio.gather(*(database.read(count) for _ in range(8)), return_exceptions=True)
            with pytest.raises(DatabaseUnavailable):
                await database.write(insert("b"))
            assert {type(outcome) for outcome in await reading} == {DatabaseUnavailable}
        proxy.may_forward.set()
        assert await database.read(count) in (1, 2)
        assert await database.write(insert("c")) == "c"
        await database.close()


async def test_a_reader_that_is_cancelled_is_told_so_though_its_connection_is_lost(
    server: PostgreSQLServer, url: str
) -> None:
    """An error in its place would let a loop go on that was to end."""
    async with Proxy(server.port).run() as proxy:
        database = PostgreSQLDatabase(url.replace(f":{server.port}/", f":{proxy.port}/"))
        await database.open()
        is_reading = asyncio.Event()

        async def operation(session: Session) -> None:
            await count(session)
            proxy.cut()
            is_reading.set()
            await asyncio.sleep(PATIENCE)

        reading = asyncio.create_task(database.read(operation, snapshot=True))
        await is_reading.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await database.close()


@pytest.mark.parametrize("at_commit", ["lose answer", "delay"])
async def test_after_a_fail_over_the_new_server_says_what_was_committed(
    server: PostgreSQLServer, url: str, at_commit: AtCommit
) -> None:
    """The replica is behind: it does not have the commit that was not answered, whatever became of it elsewhere."""
    async with Proxy(server.port).run() as proxy:
        database = PostgreSQLDatabase(url.replace(f":{server.port}/", f":{proxy.port}/"), patience=20)
        await database.open()
        await database.write(insert("before"))
        with running_copy(server) as copy:
            await database.write(insert("only there"))
            proxy.target, proxy.at_commit = copy.port, at_commit
            assert await database.write(insert("a")) == "a"
            proxy.may_commit.set()
            assert await database.write(insert("b")) == "b"
            proxy.cut()
            assert await database.read(names) == ["a", "b", "before"]
            await database.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
async def test_a_full_disk_is_named_and_harms_nothing(server: PostgreSQLServer) -> None:
    with small_volume(server.directory, 24, "tmpfs") as volume:
        shutil.chown(volume, "postgres", "postgres")
        server.run(f"CREATE TABLESPACE small LOCATION '{volume}'")
        server.run("CREATE DATABASE small TABLESPACE small")
        database = PostgreSQLDatabase(server.url("small"))
        await database.open()
        await database.write(insert("a"))

        async def fill(session: Session) -> int:
            return await session.execute(FILL)

        with pytest.raises(NoRoom, match=r"the disk of the database small at .* is full"):
            await database.write(fill)
        assert await database.read(names) == ["a"]
        await database.write(insert("b"))
        await database.close()
        server.drop_database("small")
        server.run("DROP TABLESPACE small")


async def test_opening_goes_on_after_the_connection_is_lost(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    async def lost_at_first(server: Server, connection: Connection) -> None:
        tried.append(connection)
        if len(tried) == 1:
            raise Disconnected("the connection was lost")
        await bring_up_to_date(server, connection)

    monkeypatch.setattr(database_module, "bring_up_to_date", lost_at_first)
    database = PostgreSQLDatabase(postgresql_url)
    await database.open()
    await database.close()
    assert len(tried) == 2
    assert all(connection.closed for connection in tried)
