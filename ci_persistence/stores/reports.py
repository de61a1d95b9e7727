"""The results of tests and what else reports say. The controller writes them; both sides read them.

They are written before the end of their attempt, in several short transactions, and are there for readers once the
attempt's own row has its summary. What was written for an attempt that is collected again is replaced.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ci_common.attempts.columns import CaseColumns
from ci_common.attempts.testing import CaseResult
from ci_persistence.database import Database, Row, Session
from ci_persistence.dialects import Statement
from ci_persistence.reports.choosing import After, CaseFilter, Order
from ci_persistence.reports.earlier import Earlier
from ci_persistence.reports.pages import Past, cases_at, chosen_in, firsts_of, with_history
from ci_persistence.reports.rows import COLUMNS, columns_of, values_of
from ci_persistence.rows import to_json
from ci_persistence.stores.leases import Lease, check_leads, leads

_MOST_RUNS = 20
"""So many earlier runs of a project, and so many on the same content, are compared with at most."""
_MOST_HISTORY = 200
"""So many of a project's last runs are looked through for a test."""
_TYPES = {
    "first": "integer",
    "tests": "integer",
    "keys": "text",
    "statuses": "text",
    "flaky": "text",
    "changes": "text",
    "times": "text",
    "names": "text",
    "texts": "text",
}
_ATTEMPT = "job_id = :job_id AND attempt = :attempt"

_CLEAR = Statement(f"DELETE FROM test_results WHERE {_ATTEMPT}")
_BEGIN = Statement(
    lambda sql: (
        f"""
INSERT INTO test_runs (job_id, attempt, scope, content) SELECT :job_id, :attempt, :scope, :content
WHERE {leads(sql.share_lock)}
ON CONFLICT (job_id, attempt) DO UPDATE SET
    scope = excluded.scope, content = excluded.content, has_coverage = 0, coverage_lines = NULL, covered_lines = NULL,
    reports = '{{}}'
"""
    )
)
_ADD = Statement(
    lambda sql: (
        f"""
INSERT INTO test_results (job_id, attempt, {COLUMNS})
SELECT :job_id, :attempt, {", ".join(f"CAST(:{name} AS {kind})" for name, kind in _TYPES.items())}
WHERE {leads(sql.share_lock)}
"""
    )
)
_FINISH = Statement(
    lambda sql: (
        f"""
UPDATE test_runs SET reports = :reports, has_coverage = :has_coverage, coverage_lines = :coverage_lines,
    covered_lines = :covered_lines
WHERE {_ATTEMPT} AND {leads(sql.share_lock)}
"""
    )
)
_ENDED = (
    "EXISTS (SELECT 1 FROM attempts WHERE attempts.job_id = {0}.job_id AND number = {0}.attempt AND tests IS NOT NULL)"
)
_ENDED = (
    "EXISTS (SELECT 1 FROM attempts WHERE attempts.job_id = {0}.job_id AND number = {0}.attempt AND tests IS NOT NULL)"
)
_RUNS_BEFORE = Statement(f"""
SELECT job_id, attempt FROM test_runs WHERE scope = :scope AND job_id < :job_id
ORDER BY job_id DESC, attempt DESC LIMIT {_MOST_RUNS}
""")
_RUNS_ON_CONTENT = Statement(f"""
SELECT job_id, attempt FROM test_runs WHERE scope = :scope AND content = :content
AND NOT ({_ATTEMPT}) ORDER BY job_id DESC, attempt DESC LIMIT {_MOST_RUNS}
""")
_RESULTS = Statement(f"SELECT first, keys, statuses, flaky, changes, times FROM test_results WHERE {_ATTEMPT}")
_VERDICTS = Statement(f"SELECT first, keys, statuses, flaky, changes FROM test_results WHERE {_ATTEMPT}")
_LIST = {
    more: Statement(f"SELECT first, statuses, flaky, changes{more} FROM test_results WHERE {_ATTEMPT} ORDER BY first")
    for more in ("", ", times", ", names", ", times, names")
}
"""By the columns that filter or order need besides the letters."""
_PAGE = Statement(
    lambda sql: (
        f"""
SELECT {COLUMNS} FROM test_results WHERE {_ATTEMPT} AND CAST(first AS text) IN {sql.members("firsts")} ORDER BY first
"""
    )
)
_GET_RUN = Statement(f"SELECT scope, reports FROM test_runs WHERE {_ATTEMPT}")
_LAST_COVERAGE = Statement("""
SELECT job_id, reports FROM test_runs AS run
WHERE scope = :scope AND job_id < :job_id AND has_coverage = 1 ORDER BY job_id DESC, attempt DESC LIMIT 1
""")
_WITH_KEY = Statement(
    lambda sql: (
        f"SELECT {COLUMNS} FROM test_results WHERE {_ATTEMPT} AND {sql.has_text('keys', 'key')} ORDER BY first LIMIT 1"
    )
)
_HISTORY = Statement(
    lambda sql: (
        f"""
SELECT run.job_id AS job_id, run.attempt AS attempt, jobs.submit_time AS submit_time,
    {", ".join(f"result.{name} AS {name}" for name in _TYPES if name != "names")}
FROM (SELECT job_id, attempt FROM test_runs WHERE scope = :scope ORDER BY job_id DESC, attempt DESC
    LIMIT {_MOST_HISTORY}) AS run
JOIN jobs ON jobs.id = run.job_id
JOIN test_results AS result ON result.job_id = run.job_id AND result.attempt = run.attempt
WHERE {sql.has_text("result.keys", "key")} AND {_ENDED.format("run")}
ORDER BY run.job_id DESC, run.attempt DESC LIMIT :limit
"""
    )
)
_REMOVE_CASES = Statement(
    lambda sql: (
        f"""
DELETE FROM test_results WHERE job_id = :job_id AND attempt = :attempt AND first = :first AND {leads(sql.share_lock)}
"""
    )
)
_RESULTS_OF = Statement("SELECT attempt, first FROM test_results WHERE job_id = :job_id ORDER BY attempt, first")
_REMOVE_RUNS = Statement(lambda sql: f"DELETE FROM test_runs WHERE job_id = :job_id AND {leads(sql.share_lock)}")


@dataclass(slots=True)
class Comparison:
    """What an attempt is compared with, as far as it has been read."""

    known: Earlier
    older: list[tuple[str, int]]
    """The runs that have not been read yet, by job and attempt, the newest first."""


class ReportStore:
    """The reports of one installation. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, job_id: str, attempt: int, *, scope: str, content: str | None, lease: Lease) -> None:
        """Begin to write what an attempt has left, in the place of what was written before. Raises LeadershipLost."""
        values = {"job_id": job_id, "attempt": attempt, "scope": scope, "content": content}
        await self._database.write(partial(_begin, values=values, lease=lease), vital=False)

    async def add(self, job_id: str, attempt: int, cases: CaseColumns, lease: Lease) -> None:
        """Write tests, some thousands at most. Raises LeadershipLost."""
        values = {"job_id": job_id, "attempt": attempt, **await asyncio.to_thread(values_of, cases)}
        await self._database.write(partial(_changed, statement=_ADD, values=values, lease=lease), vital=False)

    async def finish(self, job_id: str, attempt: int, reports: dict[str, Any], lease: Lease) -> None:
        """Write what the reports say besides the tests. Raises LeadershipLost."""
        coverage = reports.get("coverage") or {}
        values = {
            "job_id": job_id,
            "attempt": attempt,
            "reports": to_json(reports),
            "has_coverage": int(bool(coverage)),
            "coverage_lines": coverage.get("lines"),
            "covered_lines": coverage.get("covered"),
        }
        await self._database.write(partial(_changed, statement=_FINISH, values=values, lease=lease), vital=False)

    async def comparison(self, job_id: str, attempt: int, *, scope: str, content: str | None) -> Comparison:
        """Return what that attempt's tests are compared with; `look_further` adds what they need of older runs."""
        values = {"job_id": job_id, "attempt": attempt, "scope": scope, "content": content}
        older, on_content = await self._database.search(partial(_runs_before, values=values))
        comparison = Comparison(Earlier(), older)
        for run in on_content:
            rows = await self._database.search(partial(_results, statement=_VERDICTS, run=run))
            await asyncio.to_thread(_add_verdicts, comparison.known, rows)
        return comparison

    async def look_further(self, comparison: Comparison, keys: Iterable[str]) -> None:
        """Read older runs until each of these tests is known, or there is none left to read."""
        missing = [key for key in keys if key not in comparison.known.last]
        while missing and comparison.older:
            run = comparison.older.pop(0)
            rows = await self._database.search(partial(_results, statement=_RESULTS, run=run))
            await asyncio.to_thread(_add_run, comparison.known, rows)
            missing = [key for key in missing if key not in comparison.known.last]

    async def last_coverage(self, scope: str, job_id: str) -> tuple[str, dict[str, Any]] | None:
        """Return the last job before that one with coverage, and what its reports say; None if there is none."""
        return await self._database.read(partial(_last_coverage, scope=scope, job_id=job_id))

    async def get(self, job_id: str, attempt: int) -> dict[str, Any]:
        """Return what the reports of an attempt say besides the tests; empty if there are none."""
        return await self._database.read(partial(_get, job_id=job_id, attempt=attempt))

    async def list_cases(
        self, job_id: str, attempt: int, where: CaseFilter, *, order: Order, limit: int, after: After | None
    ) -> list[CaseResult]:
        """Return at most `limit` tests of an attempt in this order, the longest time and the most growth first.

        `after` are the measure and the position of the test that they come after; the measure counts if there is one.
        """
        more = (", times" if order != "position" or where.slower else "") + (", names" if where.text else "")
        run = job_id, attempt
        rows = await self._database.search(partial(_results, statement=_LIST[more], run=run))
        positions = await asyncio.to_thread(chosen_in, rows, where, order, limit, after)
        firsts = firsts_of(positions, [row["first"] for row in rows])
        page = await self._database.search(partial(_page, run=run, firsts=firsts))
        return await asyncio.to_thread(cases_at, page, positions)

    async def history(self, job_id: str, attempt: int, key: str, *, limit: int) -> tuple[CaseResult, list[Past]] | None:
        """Return a test of that attempt and its last results, the newest first; None if there is no such test.

        Only the last runs of the project are looked through.
        """
        found = await self._database.search(partial(_with_key, job_id=job_id, attempt=attempt, key=key))
        if found is None:
            return None
        row, scope = found
        rows = await self._database.search(partial(_history, key=key, scope=scope, limit=limit))
        return await asyncio.to_thread(with_history, row, rows, key)

    async def remove(self, job_id: str, lease: Lease) -> None:
        """Delete what the attempts of a deleted job have left, in short transactions. Raises LeadershipLost."""
        for attempt, first in await self._database.read(partial(_results_of, job_id=job_id)):
            values = {"job_id": job_id, "attempt": attempt, "first": first}
            await self._database.write(partial(_changed, statement=_REMOVE_CASES, values=values, lease=lease))
        await self._database.write(partial(_changed, statement=_REMOVE_RUNS, values={"job_id": job_id}, lease=lease))


async def _begin(session: Session, *, values: dict[str, Any], lease: Lease) -> None:
    if await session.execute(_BEGIN, values | lease.values()) == 0:
        raise lease.lost()
    await session.execute(_CLEAR, {name: values[name] for name in ("job_id", "attempt")})


async def _changed(session: Session, *, statement: Statement, values: dict[str, Any], lease: Lease) -> None:
    if await session.execute(statement, values | lease.values()) == 0:
        await check_leads(session, lease)


Run = tuple[str, int]
"""Job and attempt."""


async def _runs_before(session: Session, *, values: dict[str, Any]) -> tuple[list[Run], list[Run]]:
    """Return the last runs before, and those on the same content."""
    before = {name: values[name] for name in ("scope", "job_id")}
    older = [(row["job_id"], row["attempt"]) for row in await session.rows(_RUNS_BEFORE, before)]
    if values["content"] is None:
        return older, []
    return older, [(row["job_id"], row["attempt"]) for row in await session.rows(_RUNS_ON_CONTENT, values)]


async def _results(session: Session, *, statement: Statement, run: Run) -> list[Row]:
    return await session.rows(statement, {"job_id": run[0], "attempt": run[1]})


def _add_verdicts(known: Earlier, rows: Sequence[Row]) -> None:
    for part in map(columns_of, rows):
        known.add_verdicts(part.keys, part.statuses)


def _add_run(known: Earlier, rows: Sequence[Row]) -> None:
    for part in map(columns_of, rows):
        known.add_run(part.keys, part.statuses, part.seconds)


async def _last_coverage(session: Session, *, scope: str, job_id: str) -> tuple[str, dict[str, Any]] | None:
    rows = await session.rows(_LAST_COVERAGE, {"scope": scope, "job_id": job_id})
    return next(((row["job_id"], json.loads(row["reports"])) for row in rows), None)


async def _get(session: Session, *, job_id: str, attempt: int) -> dict[str, Any]:
    rows = await session.rows(_GET_RUN, {"job_id": job_id, "attempt": attempt})
    return next((json.loads(row["reports"]) for row in rows), {})


async def _page(session: Session, *, run: Run, firsts: Sequence[int]) -> list[Row]:
    values = {"job_id": run[0], "attempt": run[1], "firsts": to_json([str(first) for first in firsts])}
    return await session.rows(_PAGE, values) if firsts else []


async def _with_key(session: Session, *, job_id: str, attempt: int, key: str) -> tuple[Row, str] | None:
    """Return the row that has this test, and the scope of its run."""
    rows = await session.rows(_WITH_KEY, {"job_id": job_id, "attempt": attempt, "key": key})
    runs = await session.rows(_GET_RUN, {"job_id": job_id, "attempt": attempt})
    return (rows[0], runs[0]["scope"]) if rows and runs else None


async def _history(session: Session, *, key: str, scope: str, limit: int) -> list[Row]:
    return await session.rows(_HISTORY, {"key": key, "scope": scope, "limit": limit})


async def _results_of(session: Session, *, job_id: str) -> list[tuple[int, int]]:
    rows = await session.rows(_RESULTS_OF, {"job_id": job_id})
    return [(row["attempt"], row["first"]) for row in rows]
