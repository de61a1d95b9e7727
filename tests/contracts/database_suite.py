"""What every `Database` promises, run against SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from threading import get_ident
from typing import Any

import pytest

from ci_common.errors import JobNotFound, QueueFull, Unavailable
from ci_persistence.database import Chain, Command, Database, Operation, Row, Session
from ci_persistence.dialects import Statement
from tests.helpers.waiting import PATIENCE

COUNT = Statement("SELECT count(*) AS number, coalesce(sum(value), 0) AS total FROM counters")
ALL = Statement("SELECT name, value FROM counters")
NAMES = Statement("SELECT name FROM counters ORDER BY name")
INSERT = Statement("INSERT INTO counters (name, value) VALUES (:name, :value)")
ADD = Statement("UPDATE counters SET value = value + :more WHERE name = :name")
READ = Statement("SELECT name, value, :text AS text FROM counters WHERE name = :name")
DELETE_JOB = Statement("DELETE FROM counters WHERE name = :name RETURNING name")
LITERALS = Statement(
    """SELECT ':name' AS quoted, CAST(:name AS text) AS given, '%' AS percent, 'it''s :x' AS "a:b" -- :comment
"""
)
INCREASE = Statement("UPDATE counters SET value = value + 1 WHERE name = :name RETURNING value")
INSERT_THEN = Statement(lambda sql: f"INSERT INTO counters (name, value) SELECT :name, :value WHERE {sql.given}")
ADD_THEN = Statement(lambda sql: f"UPDATE counters SET value = value + :more WHERE name = :name AND {sql.given}")
LABELLED = Statement(lambda sql: f"SELECT 1 AS has WHERE {sql.has_labels(':own', 'wanted')}")


def insert(name: str, value: int = 1, *, error: Exception | None = None, notify: bool = True) -> Operation[str]:
    """Return an operation that inserts a row, and then fails where there is an error."""

    async def operation(session: Session) -> str:
        await session.execute(INSERT, {"name": name, "value": value})
        if notify:
            session.notify()
        if error is not None:
            raise error
        return name

    return operation


def fail(error: Exception) -> Operation[None]:
    """Return an operation that changes nothing and fails."""

    async def operation(session: Session) -> None:
        await session.execute(ADD, {"name": "no such row", "more": 1})
        raise error

    return operation


def increase(name: str, *then: Command, error: Exception | None = None) -> Chain[int | None]:
    """Return a chain that counts and returns the new value, None where there is no such row, and then may fail."""

    async def finish(session: Session, rows: list[Row]) -> int | None:
        if error is not None:
            raise error
        return rows[0]["value"] if rows else None

    return Chain(((INCREASE, {"name": name}), *then), finish)


async def names(session: Session) -> list[str]:
    return [row["name"] for row in await session.rows(NAMES)]


async def values(session: Session) -> dict[str, int]:
    return {row["name"]: row["value"] for row in await session.rows(ALL)}


async def count(session: Session) -> int:
    return int((await session.row(COUNT))["number"])


class DatabaseSuite:
    """The promises of `Database` and `Session`."""

    @pytest.fixture
    def make(self) -> Callable[[], Database]:
        """Make one more object for the same database, not yet open."""
        raise NotImplementedError

    @pytest.fixture
    async def database(self, make: Callable[[], Database]) -> AsyncIterator[Database]:
        database = make()
        await database.open()
        yield database
        await database.close()

    @pytest.fixture
    async def other(self, make: Callable[[], Database]) -> AsyncIterator[Database]:
        other = make()
        await other.open()
        yield other
        await other.close()

    async def test_a_session_returns_rows_and_numbers_of_rows(self, database: Database) -> None:
        async def operation(session: Session) -> tuple[Any, ...]:
            inserted = await session.execute(INSERT, {"name": "a", "value": 2**62})
            changed = await session.execute(ADD, {"name": "a", "more": -5})
            missed = await session.execute(ADD, {"name": "none", "more": 1})
            row = await session.row(READ, {"name": "a", "text": None})
            return inserted, changed, missed, row["name"], row["value"], row["text"], list(row.keys())

        found = await database.write(operation)
        assert found == (1, 1, 0, "a", 2**62 - 5, None, ["name", "value", "text"])
        assert await database.read(names) == ["a"]

    @pytest.mark.parametrize(("number", "size"), [(1, 200_000), (100, 1)])
    async def test_large_rows_and_many_are_decoded_elsewhere(self, database: Database, number: int, size: int) -> None:
        await database.write(insert("a"))

        async def operation(session: Session) -> list[tuple[int, int]]:
            rows = [await session.row(READ, {"name": "a", "text": str(place).zfill(size)}) for place in range(number)]
            return await session.decoded(lambda row: (int(row["text"].lstrip("0") or 0), get_ident()), rows)

        decoded = await database.read(operation)
        assert [place for place, _ in decoded] == list(range(number))
        assert get_ident() not in {thread for _, thread in decoded}

    async def test_sums_and_counts_are_integers(self, database: Database) -> None:
        await database.write(insert("a", 2**53 + 1))

        async def operation(session: Session) -> list[object]:
            row = await session.row(COUNT)
            return [row["number"], row["total"]]

        found = await database.read(operation)
        assert found == [1, 2**53 + 1]
        assert all(isinstance(value, int) for value in found)

    async def test_only_what_is_not_quoted_is_a_parameter(self, database: Database) -> None:
        async def operation(session: Session) -> list[object]:
            row = await session.row(LITERALS, {"name": "50 % of :name '::'"})
            return [row[key] for key in ("quoted", "given", "percent", "a:b")]

        assert await database.read(operation) == [":name", "50 % of :name '::'", "%", "it's :x"]

    async def test_operations_that_arrive_together_fail_alone(self, database: Database) -> None:
        await database.write(insert("there"))
        errors = [QueueFull("full"), KeyError("bug"), JobNotFound("none"), QueueFull("late")]
        outcomes = await asyncio.gather(
            database.write(insert("0")),
            database.write(fail(errors[0])),
            database.write(insert("1")),
            database.write(fail(errors[1])),
            database.write(insert("2", error=errors[2])),
            database.write(insert("there")),
            database.write(insert("3", error=errors[3])),
            database.write(insert("4")),
            return_exceptions=True,
        )
        assert outcomes[:5] == ["0", errors[0], "1", errors[1], errors[2]]
        assert isinstance(outcomes[5], ValueError)
        assert outcomes[6:] == [errors[3], "4"]
        assert await database.read(names) == ["0", "1", "4", "there"]

    async def test_a_chain_goes_on_only_after_a_change(self, database: Database) -> None:
        await database.write(insert("a"))
        more = (INSERT_THEN, {"name": "b", "value": 3}), (ADD_THEN, {"name": "a", "more": 10})
        assert await database.write(increase("none", *more)) is None
        assert await database.read(values) == {"a": 1}
        assert await database.write(increase("a", *more[:1])) == 2
        assert await database.write(increase("b", *more[1:])) == 4
        assert await database.read(values) == {"a": 12, "b": 4}

    async def test_chains_that_arrive_together_see_one_another(self, database: Database) -> None:
        await database.write(insert("a", 0))
        writes: list[Operation[Any]] = [increase("a") for _ in range(5)]
        writes += [increase("late"), insert("late", 7), increase("late")]
        writes += [increase("a", (INSERT_THEN, {"name": f"{number:02}", "value": number})) for number in range(30)]
        outcomes = await asyncio.gather(*map(database.write, writes))
        assert outcomes == [1, 2, 3, 4, 5, None, "late", 8, *range(6, 36)]
        assert await database.read(values) == {"a": 35, "late": 8} | {f"{number:02}": number for number in range(30)}

    async def test_chains_that_arrive_together_fail_alone(self, database: Database) -> None:
        await database.write(insert("a", 0))
        errors = [QueueFull("full"), JobNotFound("none")]
        twice = INSERT_THEN, {"name": "a", "value": 0}
        half_a_pair = INSERT_THEN, {"name": "\ud800", "value": 0}
        outcomes = await asyncio.gather(
            database.write(increase("a")),
            database.write(increase("none", error=errors[0])),
            database.write(increase("a", twice)),
            database.write(increase("a", error=errors[1])),
            database.write(increase("a", half_a_pair)),
            database.write(increase("a")),
            return_exceptions=True,
        )
        assert [outcomes[0], outcomes[1], outcomes[3], outcomes[5]] == [1, *errors, 2]
        assert isinstance(outcomes[2], ValueError)
        assert "this would break the database's rules" in str(outcomes[2])
        assert isinstance(outcomes[4], UnicodeEncodeError)
        assert await database.read(values) == {"a": 2}

    async def test_a_chain_whose_caller_is_cancelled_before_it_begins_never_runs(self, database: Database) -> None:
        await database.write(insert("a", 0))
        writing = [asyncio.create_task(database.write(increase("a"))) for _ in range(4)]
        cancelled = asyncio.create_task(database.write(increase("a", (INSERT_THEN, {"name": "b", "value": 0}))))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await asyncio.gather(*writing) == [1, 2, 3, 4]
        await asyncio.wait({cancelled})
        assert await database.read(values) == {"a": 4}

    async def test_a_broken_rule_is_named(self, database: Database) -> None:
        await database.write(insert("a"))
        with pytest.raises(ValueError, match=r"this would break the database's rules: .*counters"):
            await database.write(insert("a"))

    async def test_an_operation_that_catches_a_broken_rule_fails_nevertheless_or_has_done_nothing(
        self, database: Database
    ) -> None:
        await database.write(insert("a"))

        async def operation(session: Session) -> str:
            try:
                await session.execute(INSERT, {"name": "a", "value": 1})
            except ValueError:
                return "caught"
            return "stored"

        outcomes = await asyncio.gather(database.write(operation), database.write(insert("b")), return_exceptions=True)
        assert outcomes[0] == "caught" or isinstance(outcomes[0], ValueError)
        assert outcomes[1] == "b"
        assert await database.read(names) == ["a", "b"]

    async def test_a_bug_is_raised_as_it_is_and_harms_nothing_else(self, database: Database) -> None:
        async def operation(session: Session) -> None:
            await session.rows(READ, {"name": "a"})

        with pytest.raises(Exception) as raised:  # noqa: PT011
            await database.write(operation)
        assert not isinstance(raised.value, Unavailable)
        assert await database.write(insert("b")) == "b"

    async def test_an_operation_whose_caller_is_cancelled_before_it_begins_never_runs(self, database: Database) -> None:
        first, *rest = (asyncio.create_task(database.write(insert(str(n)))) for n in range(3))
        await asyncio.sleep(0)
        rest[0].cancel()
        assert await first == "0"
        assert await rest[1] == "2"
        assert await database.read(names) == ["0", "2"]

    async def test_the_caller_of_a_certain_operation_learns_its_outcome(self, database: Database) -> None:
        for number in range(20):
            writing = asyncio.create_task(database.write(insert(str(number)), certain=True))
            for _ in range(number):
                await asyncio.sleep(0)
            writing.cancel()
            try:
                is_stored = await writing == str(number)
            except asyncio.CancelledError:
                is_stored = False
            assert (str(number) in await database.read(names)) == is_stored

    async def test_a_snapshot_is_of_one_moment(self, database: Database, other: Database) -> None:
        is_over = False

        async def write() -> None:
            number = 0
            while not is_over:
                await other.write(insert(str(number)))
                number += 1

        async def twice(session: Session) -> tuple[int, int]:
            return await count(session), await count(session)

        writing = asyncio.create_task(write())
        for _ in range(50):
            first, second = await database.read(twice, snapshot=True)
            assert first == second
        is_over = True
        await writing
        with pytest.raises(JobNotFound):
            await database.read(fail_reading, snapshot=True)
        assert await database.read(count, snapshot=True) > 0

    async def test_a_thousand_readers_are_all_answered(self, database: Database) -> None:
        await database.write(insert("a"))
        assert await asyncio.gather(*(database.read(count) for _ in range(1000))) == [1] * 1000
        assert await asyncio.gather(*(database.search(count) for _ in range(100))) == [1] * 100

    async def test_cancelled_readers_leave_their_connections_usable(self, database: Database) -> None:
        reading = [asyncio.create_task(database.read(count)) for _ in range(100)]
        await asyncio.sleep(0.005)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        assert await database.read(count) == 0

    @pytest.mark.parametrize("notify", [True, False])
    async def test_changes_of_others_are_yielded(self, database: Database, other: Database, notify: bool) -> None:
        async with aclosing(database.changes()) as changes, asyncio.timeout(PATIENCE):
            await anext(changes)
            for number in range(3):
                waiting = asyncio.ensure_future(anext(changes))
                await other.write(insert(str(number), notify=notify))
                await waiting
                assert await database.read(count) == number + 1

    async def test_changes_while_an_iteration_begins_are_not_missed(self, database: Database, other: Database) -> None:
        for number in range(3):
            writing = asyncio.create_task(other.write(insert(str(number), notify=False)))
            async with aclosing(database.changes()) as changes, asyncio.timeout(PATIENCE):
                await anext(changes)
                while await database.read(count) < number + 1:
                    await anext(changes)
            await writing

    async def test_own_changes_are_yielded_at_once(self, database: Database) -> None:
        async with aclosing(database.changes()) as changes:
            await anext(changes)
            waiting = asyncio.ensure_future(anext(changes))
            await database.write(insert("a", notify=False))
            await asyncio.wait_for(waiting, PATIENCE)

    async def test_closing_finishes_what_has_begun_and_refuses_the_rest(self, make: Callable[[], Database]) -> None:
        database = make()
        await database.open()
        writing = asyncio.create_task(database.write(insert("a"), certain=True))
        await asyncio.sleep(0)
        await database.close()
        await database.close()
        assert await writing == "a"
        for refused in (database.read(count), database.search(count), database.write(insert("b"))):
            with pytest.raises(Unavailable):
                await refused

    async def test_it_may_be_closed_without_having_been_opened(self, make: Callable[[], Database]) -> None:
        await make().close()

    async def test_several_may_open_it_at_once(self, make: Callable[[], Database]) -> None:
        every = [make() for _ in range(4)]
        await asyncio.gather(*(database.open() for database in every))
        await asyncio.gather(*(database.write(insert(str(number))) for number, database in enumerate(every)))
        assert await every[0].read(names) == ["0", "1", "2", "3"]
        for database in every:
            await database.close()

    async def test_hundreds_of_operations_at_once_are_all_done(self, database: Database) -> None:
        await asyncio.gather(*(database.write(insert(str(number))) for number in range(300)))
        assert await database.read(count) == 300


async def fail_reading(session: Session) -> None:
    await count(session)
    raise JobNotFound("none")
