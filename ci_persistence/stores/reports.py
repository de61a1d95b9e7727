"""The results of tests and what else reports say. The controller writes them; both sides read them.

They are written before the end of their attempt, in several short transactions, and are there for readers once the
attempt's own row has its summary. What was written for an attempt that is collected again is replaced.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any, Literal

from ci_common.attempts.testing import CaseChange, CaseResult, CaseStatus
from ci_persistence.database import Database, Row, Session
from ci_persistence.dialects import Dialect, Statement
from ci_persistence.job_lists import containing
from ci_persistence.rows import to_json
from ci_persistence.stores.leases import Lease, check_leads, leads

SLOWER_FACTOR, SLOWER_SECONDS = 2.0, 0.5
"""A test has grown in time if it took more than so many times what it took before, and so many seconds more."""
_MOST_RUNS_ON_CONTENT = 20
_REMOVED_AT_ONCE = 2000
_TYPES = {
    "position": "integer",
    "key": "text",
    "suite": "text",
    "class_name": "text",
    "name": "text",
    "status": "text",
    "seconds": "double precision",
    "file": "text",
    "line": "integer",
    "message": "text",
    "details": "text",
    "output": "text",
    "selector": "text",
    "flaky": "integer",
    "change": "text",
    "seconds_before": "double precision",
}
_COLUMNS = tuple(field.name for field in fields(CaseResult))
_NAMES = ", ".join(_COLUMNS)
OF_NOTE = "(status <> 'passed' OR flaky = 1 OR change IS NOT NULL)"
"""The condition of the index `test_results_of_note`, in its words."""
_ATTEMPT = "job_id = :job_id AND attempt = :attempt"

_CLEAR = Statement(f"DELETE FROM test_results WHERE {_ATTEMPT}")
_BEGIN = Statement(
    lambda sql: (
        f"""
INSERT INTO test_runs (job_id, attempt, scope, content) SELECT :job_id, :attempt, :scope, :content
WHERE {leads(sql.share_lock)}
ON CONFLICT (job_id, attempt) DO UPDATE SET
    scope = excluded.scope, content = excluded.content, has_coverage = 0, reports = '{{}}'
"""
    )
)
_ADD = Statement(
    lambda sql: (
        f"""
INSERT INTO test_results (job_id, attempt, {_NAMES})
SELECT :job_id, :attempt, {", ".join(f"CAST(:{name} AS {kind})" for name, kind in _TYPES.items())}
WHERE {leads(sql.share_lock)}
"""
    )
)
_FINISH = Statement(
    lambda sql: (
        f"""
UPDATE test_runs SET reports = :reports, has_coverage = :has_coverage WHERE {_ATTEMPT} AND {leads(sql.share_lock)}
"""
    )
)
_ENDED = (
    "EXISTS (SELECT 1 FROM attempts WHERE attempts.job_id = {0}.job_id AND number = {0}.attempt AND tests IS NOT NULL)"
)
# Of each test the result of the last job before that has one.
_BEFORE = Statement(
    lambda sql: (
        f"""
SELECT key, status, seconds FROM test_results AS result WHERE key IN {sql.members("keys")} AND job_id = (
    SELECT max(other.job_id) FROM test_results AS other WHERE other.key = result.key AND other.job_id < :job_id)
ORDER BY key, attempt
"""
    )
)
_RUNS_ON_CONTENT = Statement(f"""
SELECT job_id, attempt FROM test_runs WHERE scope = :scope AND content = :content
AND NOT ({_ATTEMPT}) ORDER BY job_id DESC, attempt DESC LIMIT {_MOST_RUNS_ON_CONTENT}
""")
_VERDICTS = Statement(
    lambda sql: (
        f"""
SELECT key, status FROM test_results WHERE key IN {sql.members("keys")} AND job_id = :job_id AND attempt = :attempt
"""
    )
)
_GET_RUN = Statement(f"SELECT reports FROM test_runs WHERE {_ATTEMPT}")
_LAST_COVERAGE = Statement("""
SELECT job_id, reports FROM test_runs AS run
WHERE scope = :scope AND job_id < :job_id AND has_coverage = 1 ORDER BY job_id DESC, attempt DESC LIMIT 1
""")
_GET_CASE = Statement(f"SELECT {_NAMES} FROM test_results WHERE {_ATTEMPT} AND key = :key ORDER BY position LIMIT 1")
_HISTORY = Statement(f"""
SELECT result.job_id AS job_id, result.attempt AS attempt, result.status AS status, result.seconds AS seconds,
    result.flaky AS flaky, result.message AS message, jobs.submit_time AS submit_time
FROM test_results AS result JOIN jobs ON jobs.id = result.job_id
WHERE result.key = :key AND {_ENDED.format("result")}
ORDER BY result.job_id DESC, result.attempt DESC LIMIT :limit
""")
_REMOVE_CASES = Statement(
    lambda sql: (
        f"""
DELETE FROM test_results WHERE job_id = :job_id AND attempt = :attempt AND position >= :first AND position < :end
AND {leads(sql.share_lock)}
"""
    )
)
_RUNS_OF = Statement(
    "SELECT attempt, (SELECT max(position) FROM test_results WHERE test_results.job_id = test_runs.job_id "
    "AND test_results.attempt = test_runs.attempt) AS last FROM test_runs WHERE job_id = :job_id"
)
_REMOVE_RUNS = Statement(lambda sql: f"DELETE FROM test_runs WHERE job_id = :job_id AND {leads(sql.share_lock)}")


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of one test from earlier."""

    status: CaseStatus | None = None
    """How it ended when it ran last in an earlier job."""
    seconds: float | None = None
    on_content: frozenset[CaseStatus] = frozenset()
    """How it ended in other attempts on the same content."""


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Which tests `list_cases` returns; None and empty do not narrow."""

    statuses: frozenset[CaseStatus] = frozenset()
    flaky: bool = False
    change: CaseChange | None = None
    slower: bool = False
    """Only tests that have grown in time."""
    text: str | None = None
    """Part of the suite, class or name; case is ignored for ASCII."""


Order = Literal["position", "time", "growth"]


@dataclass(frozen=True, slots=True)
class Past:
    """One result of a test."""

    job_id: str
    attempt: int
    submit_time: int
    """Microseconds since 1970 UTC."""
    status: CaseStatus
    seconds: float | None
    flaky: bool
    message: str | None


class ReportStore:
    """The reports of one installation. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, job_id: str, attempt: int, *, scope: str, content: str | None, lease: Lease) -> None:
        """Begin to write what an attempt has left, in the place of what was written before. Raises LeadershipLost."""
        values = {"job_id": job_id, "attempt": attempt, "scope": scope, "content": content}
        await self._database.write(partial(_begin, values=values, lease=lease), vital=False)

    async def add(self, job_id: str, attempt: int, cases: Sequence[CaseResult], lease: Lease) -> None:
        """Write tests. Raises LeadershipLost."""
        await self._database.write(partial(_add, job_id=job_id, attempt=attempt, cases=cases, lease=lease), vital=False)

    async def finish(self, job_id: str, attempt: int, reports: dict[str, Any], lease: Lease) -> None:
        """Write what the reports say besides the tests. Raises LeadershipLost."""
        values = {
            "job_id": job_id,
            "attempt": attempt,
            "reports": to_json(reports),
            "has_coverage": int(bool(reports.get("coverage"))),
        }
        await self._database.write(partial(_changed, statement=_FINISH, values=values, lease=lease), vital=False)

    async def before(
        self, keys: Iterable[str], job_id: str, attempt: int, *, scope: str, content: str | None
    ) -> dict[str, Before]:
        """Return what is known of these tests from before that attempt, by key."""
        values = {"keys": to_json(list(keys)), "job_id": job_id}
        known = {"scope": scope, "content": content, "job_id": job_id, "attempt": attempt}
        return await self._database.search(partial(_before, values=values, run=known))

    async def last_coverage(self, scope: str, job_id: str) -> tuple[str, dict[str, Any]] | None:
        """Return the last job before that one with coverage, and what its reports say; None if there is none."""
        return await self._database.read(partial(_last_coverage, scope=scope, job_id=job_id))

    async def get(self, job_id: str, attempt: int) -> dict[str, Any]:
        """Return what the reports of an attempt say besides the tests; empty if there are none."""
        return await self._database.read(partial(_get, job_id=job_id, attempt=attempt))

    async def list_cases(
        self, job_id: str, attempt: int, where: CaseFilter, *, order: Order, limit: int, after: tuple[float, int] | None
    ) -> list[CaseResult]:
        """Return at most `limit` tests of an attempt in this order, the longest time and the most growth first.

        `after` are the measure and the position of the test that they come after; the measure counts if there is one.
        """
        return await self._database.search(
            partial(_list, job_id=job_id, attempt=attempt, where=where, order=order, limit=limit, after=after)
        )

    async def history(self, job_id: str, attempt: int, key: str, *, limit: int) -> tuple[CaseResult, list[Past]] | None:
        """Return a test of that attempt and its last results, the newest first; None if there is no such test."""
        return await self._database.search(partial(_history, job_id=job_id, attempt=attempt, key=key, limit=limit))

    async def remove(self, job_id: str, lease: Lease) -> None:
        """Delete what the attempts of a deleted job have left, in short transactions. Raises LeadershipLost."""
        for attempt, last in await self._database.read(partial(_runs_of, job_id=job_id)):
            for first in range(0, last + 1, _REMOVED_AT_ONCE):
                values = {"job_id": job_id, "attempt": attempt, "first": first, "end": first + _REMOVED_AT_ONCE}
                await self._database.write(partial(_removed, statement=_REMOVE_CASES, values=values, lease=lease))
            await self._database.write(
                partial(_removed, statement=_REMOVE_RUNS, values={"job_id": job_id}, lease=lease)
            )


async def _begin(session: Session, *, values: dict[str, Any], lease: Lease) -> None:
    if await session.execute(_BEGIN, values | lease.values()) == 0:
        raise lease.lost()
    await session.execute(_CLEAR, {name: values[name] for name in ("job_id", "attempt")})


async def _add(session: Session, *, job_id: str, attempt: int, cases: Sequence[CaseResult], lease: Lease) -> None:
    common = {"job_id": job_id, "attempt": attempt, **lease.values()}
    rows = [common | {name: getattr(case, name) for name in _TYPES} | {"flaky": int(case.flaky)} for case in cases]
    if await session.execute_many(_ADD, rows) == 0:
        await check_leads(session, lease)


async def _changed(session: Session, *, statement: Statement, values: dict[str, Any], lease: Lease) -> None:
    if await session.execute(statement, values | lease.values()) == 0:
        await check_leads(session, lease)


async def _removed(session: Session, *, statement: Statement, values: dict[str, Any], lease: Lease) -> None:
    await _changed(session, statement=statement, values=values, lease=lease)


async def _before(session: Session, *, values: dict[str, Any], run: dict[str, Any]) -> dict[str, Before]:
    last = {row["key"]: row for row in await session.rows(_BEFORE, values)}
    on_content: dict[str, set[CaseStatus]] = {}
    if run["content"] is not None:
        for other in await session.rows(_RUNS_ON_CONTENT, run):
            known = {"keys": values["keys"], "job_id": other["job_id"], "attempt": other["attempt"]}
            for row in await session.rows(_VERDICTS, known):
                on_content.setdefault(row["key"], set()).add(CaseStatus(row["status"]))
    return {
        key: Before(
            CaseStatus(last[key]["status"]) if key in last else None,
            last[key]["seconds"] if key in last else None,
            frozenset(on_content.get(key, ())),
        )
        for key in {*last, *on_content}
    }


async def _last_coverage(session: Session, *, scope: str, job_id: str) -> tuple[str, dict[str, Any]] | None:
    rows = await session.rows(_LAST_COVERAGE, {"scope": scope, "job_id": job_id})
    return next(((row["job_id"], json.loads(row["reports"])) for row in rows), None)


async def _get(session: Session, *, job_id: str, attempt: int) -> dict[str, Any]:
    rows = await session.rows(_GET_RUN, {"job_id": job_id, "attempt": attempt})
    return next((json.loads(row["reports"]) for row in rows), {})


async def _list(
    session: Session,
    *,
    job_id: str,
    attempt: int,
    where: CaseFilter,
    order: Order,
    limit: int,
    after: tuple[float, int] | None,
) -> list[CaseResult]:
    values: dict[str, Any] = {"job_id": job_id, "attempt": attempt, "limit": limit}
    if where.text:
        values["text"] = containing(where.text)
    if where.change is not None:
        values["change"] = where.change
    if after is not None:
        values["position"] = after[1]
        if order != "position":
            values["measure"] = after[0]
    statement = _listing(order, where.statuses, where.flaky, where.slower, frozenset(values))
    return [to_case(row) for row in await session.rows(statement, values)]


_MEASURES = {"time": "coalesce(seconds, -1)", "growth": "coalesce(seconds - seconds_before, -1)"}


@cache
def _listing(
    order: Order, statuses: frozenset[CaseStatus], flaky: bool, slower: bool, given: frozenset[str]
) -> Statement:
    def text(sql: Dialect) -> str:
        conditions = [_ATTEMPT]
        if statuses:
            conditions.append(f"status IN ({', '.join(sorted(repr(status.value) for status in statuses))})")
        if flaky:
            conditions.append("flaky = 1")
        if "change" in given:
            conditions.append("change = :change")
        if (statuses and CaseStatus.PASSED not in statuses) or flaky or "change" in given:
            conditions.append(OF_NOTE)
        if slower:
            conditions.append(
                f"seconds > {SLOWER_FACTOR} * seconds_before AND seconds > seconds_before + {SLOWER_SECONDS}"
            )
        if "text" in given:
            conditions.append(
                f"({' OR '.join(sql.contains(column, 'text') for column in ('name', 'class_name', 'suite'))})"
            )
        measure = _MEASURES.get(order)
        if "measure" in given:
            conditions.append(f"({measure} < :measure OR ({measure} = :measure AND position > :position))")
        elif "position" in given:
            conditions.append("position > :position")
        ordering = "position" if measure is None else f"{measure} DESC, position"
        return f"SELECT {_NAMES} FROM test_results WHERE {' AND '.join(conditions)} ORDER BY {ordering} LIMIT :limit"

    return Statement(text)


async def _history(
    session: Session, *, job_id: str, attempt: int, key: str, limit: int
) -> tuple[CaseResult, list[Past]] | None:
    found = await session.rows(_GET_CASE, {"job_id": job_id, "attempt": attempt, "key": key})
    if not found:
        return None
    return to_case(found[0]), [
        Past(
            row["job_id"],
            row["attempt"],
            row["submit_time"],
            CaseStatus(row["status"]),
            row["seconds"],
            bool(row["flaky"]),
            row["message"],
        )
        for row in await session.rows(_HISTORY, {"key": key, "limit": limit})
    ]


async def _runs_of(session: Session, *, job_id: str) -> list[tuple[int, int]]:
    rows = await session.rows(_RUNS_OF, {"job_id": job_id})
    return [(row["attempt"], -1 if row["last"] is None else row["last"]) for row in rows]


def to_case(row: Row) -> CaseResult:
    """Return the test of a row."""
    columns = {name: row[name] for name in _COLUMNS}
    change = row["change"]
    return CaseResult(
        **columns
        | {
            "status": CaseStatus(row["status"]),
            "flaky": bool(row["flaky"]),
            "change": None if change is None else CaseChange(change),
        }
    )
