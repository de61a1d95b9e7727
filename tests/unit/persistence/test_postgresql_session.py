"""How statements are written for PostgreSQL."""

from typing import Any

import pytest

from ci_persistence.database import Session
from ci_persistence.dialects import Statement
from ci_persistence.postgresql.database import PostgreSQLDatabase
from ci_persistence.postgresql.session import chain_of, query_of
from tests.contracts.database_suite import insert
from tests.helpers.postgresql.server import PostgreSQLServer


@pytest.mark.parametrize(
    ("text", "written", "names"),
    [
        ("SELECT 1", "SELECT 1", ()),
        ("SELECT :a, :b, :a", "SELECT $1, $2, $1", ("a", "b")),
        ("SELECT :a_1::text, x::int", "SELECT $1::text, x::int", ("a_1",)),
        (
            "SELECT ':a', 'it''s :a', \":a\" -- :a\n, :b /* :c */",
            "SELECT ':a', 'it''s :a', \":a\" -- :a\n, $1 /* :c */",
            ("b",),
        ),
        ("DO $$ SELECT :a $$", "DO $$ SELECT :a $$", ()),
        ("SELECT '%' || :a LIKE '50%'", "SELECT '%' || $1 LIKE '50%'", ("a",)),
        ("SELECT (list)[1:2], :a", "SELECT (list)[1:2], $1", ("a",)),
    ],
)
def test_parameters_are_numbered(text: str, written: str, names: tuple[str, ...]) -> None:
    query = query_of(text)
    assert (query.text.decode(), [name for _, name in query.names]) == (written, list(names))


@pytest.mark.parametrize(
    ("text", "may_change"),
    [
        ("SELECT updated, deletes FROM t", False),
        ("WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x", True),
        ("insert into t VALUES (1)", True),
    ],
)
def test_what_may_change_something_is_known(text: str, may_change: bool) -> None:
    assert query_of(text).may_change == may_change


def test_a_chain_is_one_statement_whose_parameters_have_numbers_of_their_own() -> None:
    first = Statement("UPDATE t SET a = :a WHERE b = :b RETURNING c")
    second = Statement(lambda sql: f"DELETE FROM u WHERE a = :b AND c = :a AND d = :a AND {sql.given}")
    query = chain_of((first, second))
    assert query.text.decode() == (
        "WITH changed AS (UPDATE t SET a = $1 WHERE b = $2 RETURNING c), "
        "then_1 AS (DELETE FROM u WHERE a = $3 AND c = $4 AND d = $4 AND EXISTS (SELECT FROM changed)) "
        "SELECT * FROM changed"
    )
    assert query.names == ((0, "a"), (0, "b"), (1, "b"), (1, "a"))


def test_a_statement_that_would_run_unconditionally_cannot_follow_another_one() -> None:
    with pytest.raises(ValueError, match=r"cannot follow another one, without Dialect.given: DELETE FROM t"):
        chain_of((Statement("UPDATE t SET a = 1 RETURNING a"), Statement("DELETE FROM t")))


async def test_values_are_those_of_sqlite(postgresql_url: str) -> None:
    database = PostgreSQLDatabase(postgresql_url)
    await database.open()

    async def operation(session: Session) -> list[Any]:
        row = await session.row(
            Statement(
                "SELECT CAST(:text AS text) AS a, :number * 1000000 AS b, CAST(2.5 AS numeric) AS c, "
                "json_build_object('k', 1) AS d, CAST('{\"k\": 1}' AS jsonb) AS e, CAST(:real AS real) AS f, :none AS g"
            ),
            {"text": "a\0b", "number": 3_000_000_000, "real": 0.5, "none": None},
        )
        return list(row.values())

    assert await database.read(operation) == ["a\ufffdb", 3 * 10**15, 2.5, '{"k" : 1}', '{"k": 1}', 0.5, None]
    await database.close()


async def test_statements_are_prepared_again_after_a_migration(
    postgresql_server: PostgreSQLServer, postgresql_url: str
) -> None:
    database = PostgreSQLDatabase(postgresql_url)
    await database.open()
    await database.write(insert("a"))
    for kind in ("bigint", "integer", "numeric"):
        change = f"ALTER TABLE counters ALTER value TYPE {kind}"
        postgresql_server.run(change, postgresql_url.rpartition("/")[2])
        for _ in range(10):
            assert await database.read(values) == [1]
            assert await database.write(values) == [1]
    await database.close()


async def values(session: Session) -> list[int]:
    return [row["value"] for row in await session.rows(Statement("SELECT value FROM counters"))]
