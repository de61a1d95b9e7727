"""A commit whose answer is lost has one outcome, and its caller learns it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ci_common.errors import DatabaseUnavailable, Locked
from ci_persistence.database import Operation, Session
from ci_persistence.dialects import Statement
from ci_persistence.postgresql import writer
from ci_persistence.postgresql.database import PostgreSQLDatabase
from ci_selftest.faults.database_proxy import AtCommit, Proxy
from tests.contracts.database_suite import ADD, INSERT, fail, increase, insert, names, values
from tests.helpers.postgresql.server import PostgreSQLServer
from tests.helpers.waiting import PATIENCE, eventually

TOTAL = Statement("SELECT sum(value) AS total FROM counters")
LOCK_ROW = Statement("SELECT value FROM counters WHERE name = :name FOR UPDATE")


@pytest.fixture
async def proxy(postgresql_server: PostgreSQLServer) -> AsyncIterator[Proxy]:
    async with Proxy(postgresql_server.port).run() as proxy:
        yield proxy


@pytest.fixture
async def database(
    postgresql_server: PostgreSQLServer, postgresql_url: str, proxy: Proxy
) -> AsyncIterator[PostgreSQLDatabase]:
    """A database that is reached through the proxy."""
    database = PostgreSQLDatabase(postgresql_url.replace(f":{postgresql_server.port}/", f":{proxy.port}/"), patience=20)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def direct(postgresql_url: str) -> AsyncIterator[PostgreSQLDatabase]:
    """Another object, without the proxy."""
    direct = PostgreSQLDatabase(postgresql_url)
    await direct.open()
    yield direct
    await direct.close()


async def total(session: Session) -> int:
    return int((await session.row(TOTAL))["total"])


def counted(operation: Operation[Any]) -> tuple[Operation[Any], list[None]]:
    """Return the operation, and a list with an element for each time that it has run."""
    runs: list[None] = []

    async def run(session: Session) -> Any:
        runs.append(None)
        return await operation(session)

    return run, runs


@pytest.mark.parametrize("at_commit", ["lose answer", "drop"])
@pytest.mark.parametrize("notify", [True, False])
async def test_a_lost_answer_changes_no_outcome(
    database: PostgreSQLDatabase, direct: PostgreSQLDatabase, proxy: Proxy, at_commit: AtCommit, notify: bool
) -> None:
    await database.write(insert("before"))
    proxy.at_commit = at_commit
    adding, runs = counted(insert("a", notify=notify))
    outcomes = await asyncio.gather(
        database.write(adding), database.write(insert("b")), database.write(insert("c")), return_exceptions=True
    )
    assert outcomes == ["a", "b", "c"]
    assert len(runs) == (1 if at_commit == "lose answer" else 2)
    assert await direct.read(names) == ["a", "b", "before", "c"]


async def test_a_commit_that_arrives_late_is_waited_for(
    database: PostgreSQLDatabase, direct: PostgreSQLDatabase, proxy: Proxy
) -> None:
    await database.write(insert("before"))
    proxy.at_commit = "delay"
    adding, runs = counted(insert("a"))
    writing = asyncio.create_task(database.write(adding, certain=True))
    commits = proxy.commits
    await eventually(lambda: proxy.commits > commits)
    done, _ = await asyncio.wait({writing}, timeout=1)
    assert not done
    proxy.may_commit.set()
    assert await asyncio.wait_for(writing, PATIENCE) == "a"
    assert len(runs) == 1
    assert await direct.read(names) == ["a", "before"]


async def test_a_commit_that_never_arrives_is_rolled_back_and_run_again(
    database: PostgreSQLDatabase, direct: PostgreSQLDatabase, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_IDLE_SECONDS", 1.0)
    await database.write(insert("before"))
    proxy.at_commit = "delay"
    adding, runs = counted(insert("a"))
    assert await asyncio.wait_for(database.write(adding), PATIENCE) == "a"
    assert len(runs) == 2
    proxy.may_commit.set()
    assert await direct.read(names) == ["a", "before"]


async def test_an_outcome_that_cannot_be_read_is_unavailable(
    postgresql_server: PostgreSQLServer, postgresql_url: str, proxy: Proxy, direct: PostgreSQLDatabase
) -> None:
    url = postgresql_url.replace(f":{postgresql_server.port}/", f":{proxy.port}/")
    database = PostgreSQLDatabase(url, patience=2)
    await database.open()
    await database.write(insert("before"))
    proxy.at_commit, proxy.is_refusing = "lose answer", True
    with pytest.raises(DatabaseUnavailable, match="lost during a commit, and whether it was committed is not known"):
        await database.write(insert("a"))
    proxy.is_refusing = False
    assert await database.write(insert("b")) == "b"
    assert await direct.read(names) == ["a", "b", "before"]
    await database.close()


async def test_a_certain_caller_that_is_cancelled_during_the_commit_learns_the_outcome(
    database: PostgreSQLDatabase, proxy: Proxy
) -> None:
    await database.write(insert("before"))
    proxy.at_commit = "delay"
    commits = proxy.commits
    writing = asyncio.create_task(database.write(insert("a"), certain=True))
    await eventually(lambda: proxy.commits > commits)
    for _ in range(3):
        writing.cancel()
        await asyncio.sleep(0)
    proxy.may_commit.set()
    assert await asyncio.wait_for(writing, PATIENCE) == "a"


async def test_a_connection_that_is_cut_in_an_operation_is_replaced(
    database: PostgreSQLDatabase, direct: PostgreSQLDatabase, proxy: Proxy
) -> None:
    is_first = True

    async def operation(session: Session) -> str:
        nonlocal is_first
        await session.execute(INSERT, {"name": "a", "value": 1})
        if is_first:
            is_first = False
            proxy.cut()
        await session.execute(ADD, {"name": "a", "more": 1})
        return "a"

    assert await database.write(operation) == "a"
    assert await direct.read(names) == ["a"]


async def test_a_connection_that_is_cut_before_chains_is_replaced(
    database: PostgreSQLDatabase, direct: PostgreSQLDatabase, proxy: Proxy
) -> None:
    await database.write(insert("a", 0))
    is_first = True

    async def cut(_: Session) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            proxy.cut()

    outcomes = await asyncio.gather(database.write(cut), *(database.write(increase("a")) for _ in range(20)))
    assert outcomes == [None, *range(1, 21)]
    assert await direct.read(values) == {"a": 20}


@pytest.mark.parametrize("at_commit", ["lose answer", "drop"])
async def test_a_lost_answer_changes_no_outcome_of_chains(
    database: PostgreSQLDatabase, direct: PostgreSQLDatabase, proxy: Proxy, at_commit: AtCommit
) -> None:
    await database.write(insert("a", 0))
    proxy.at_commit = at_commit
    assert await asyncio.gather(*(database.write(increase("a")) for _ in range(20))) == [*range(1, 21)]
    assert await direct.read(values) == {"a": 20}


async def test_a_server_that_does_not_answer_chains_is_unavailable(
    postgresql_server: PostgreSQLServer, postgresql_url: str, direct: PostgreSQLDatabase, proxy: Proxy
) -> None:
    url = postgresql_url.replace(f":{postgresql_server.port}/", f":{proxy.port}/")
    database = PostgreSQLDatabase(url, patience=1)
    await database.open()
    await database.write(insert("a", 0))

    async def freeze(_: Session) -> None:
        proxy.may_forward.clear()

    async with asyncio.timeout(PATIENCE):
        writing = [database.write(operation) for operation in (freeze, increase("a"), increase("a"))]
        outcomes = await asyncio.gather(*writing, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
        proxy.may_forward.set()
        assert await database.write(increase("a")) == 1
    assert await direct.read(values) == {"a": 1}
    await database.close()


async def test_an_operation_that_fails_unchanged_shares_the_commit_of_the_others(
    database: PostgreSQLDatabase, proxy: Proxy
) -> None:
    await database.write(insert("before"))
    commits = proxy.commits
    error = KeyError("bug")
    outcomes = await asyncio.gather(
        database.write(insert("a")), database.write(fail(error)), database.write(insert("b")), return_exceptions=True
    )
    assert outcomes == ["a", error, "b"]
    assert proxy.commits == commits + 1


async def test_an_operation_that_changes_nothing_commits_nothing(database: PostgreSQLDatabase, proxy: Proxy) -> None:
    with pytest.raises(KeyError):
        await database.write(fail(KeyError("bug")))
    assert await database.write(names) == []
    assert proxy.commits == 0


async def test_a_row_that_another_program_keeps_locked_is_waited_for(
    database: PostgreSQLDatabase, direct: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.write(insert("a"))
    monkeypatch.setattr(writer, "_LOCK_SECONDS", 0.3)
    is_locked, release = asyncio.Event(), asyncio.Event()

    async def keep(session: Session) -> None:
        await session.row(LOCK_ROW, {"name": "a"})
        is_locked.set()
        await release.wait()

    async def add(session: Session) -> int:
        return await session.execute(ADD, {"name": "a", "more": 1})

    keeping = asyncio.create_task(direct.write(keep))
    await is_locked.wait()
    with pytest.raises(Locked, match=r"keeps the database .* locked"):
        await database.write(add)
    monkeypatch.undo()
    adding = asyncio.create_task(database.write(add))
    release.set()
    await keeping
    assert await adding == 1


async def test_of_a_deadlock_both_sides_are_done(database: PostgreSQLDatabase, direct: PostgreSQLDatabase) -> None:
    await database.write(insert("a"))
    await database.write(insert("b"))
    reached = [asyncio.Event(), asyncio.Event()]

    def cross(number: int) -> Operation[int]:
        async def operation(session: Session) -> int:
            first, second = ("a", "b") if number else ("b", "a")
            changed = await session.execute(ADD, {"name": first, "more": 1})
            reached[number].set()
            await reached[1 - number].wait()
            return changed + await session.execute(ADD, {"name": second, "more": 1})

        return operation

    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(database.write(cross(0)), direct.write(cross(1))) == [2, 2]


async def test_batches_that_lock_rows_in_different_orders_are_done_in_the_end(
    database: PostgreSQLDatabase, direct: PostgreSQLDatabase
) -> None:
    await database.write(insert("a"))
    await database.write(insert("b"))
    both = asyncio.Barrier(2)

    def add(name: str, *, first: bool = False) -> Operation[int]:
        is_waiting = first

        async def operation(session: Session) -> int:
            nonlocal is_waiting
            changed = await session.execute(ADD, {"name": name, "more": 1})
            if is_waiting:
                is_waiting = False
                await both.wait()
            return changed

        return operation

    async with asyncio.timeout(PATIENCE):
        outcomes = await asyncio.gather(
            *(database.write(operation) for operation in (add("a", first=True), add("b"))),
            *(direct.write(operation) for operation in (add("b", first=True), add("a"))),
        )
    assert outcomes == [1, 1, 1, 1]
    assert await direct.read(total) == 6


async def test_a_transaction_that_is_left_open_is_ended_by_the_server(
    database: PostgreSQLDatabase, direct: PostgreSQLDatabase, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_IDLE_SECONDS", 0.5)
    await direct.write(insert("a"))
    is_first = True

    async def stall(session: Session) -> int:
        nonlocal is_first
        changed = await session.execute(ADD, {"name": "a", "more": 1})
        if is_first:
            is_first = False
            await asyncio.sleep(1.5)
            await session.execute(ADD, {"name": "a", "more": 1})
        return changed

    stalling = asyncio.create_task(database.write(stall))
    await eventually(lambda: not is_first)

    async def add(session: Session) -> int:
        return await session.execute(ADD, {"name": "a", "more": 1})

    assert await asyncio.wait_for(direct.write(add), PATIENCE) == 1
    assert await stalling == 1
