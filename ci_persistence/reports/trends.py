"""How a project goes: its last jobs that have ended, and its tests over them.

All of it is bounded: so many of the last jobs are looked at, however many there are.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from ci_common.attempts.testing import CaseResult, CaseSummary
from ci_common.jobs import Conclusion
from ci_persistence.database import Database, Row, Session
from ci_persistence.dialects import Statement
from ci_persistence.reports.over_runs import CaseOrder, CaseTotals, Place, Run, add_run, foremost, joined
from ci_persistence.reports.pages import cases_at, firsts_of
from ci_persistence.reports.rows import COLUMNS, columns_of
from ci_persistence.rows import to_json

LOOKED_AT: Final = 1000
"""So many of a project's last jobs are looked through."""
MOST_CASES: Final = 200_000
"""Once so many results of tests were read, no older run is read."""
_CANDIDATES: Final = 3
"""So many times as many tests are read as are asked for, since some may turn out to be the same."""

_ENDED: Final = """
SELECT id, end_time FROM jobs WHERE state = 'completed' AND project = :project
ORDER BY end_time DESC, id DESC LIMIT :looked_at
"""
_WITH_LABELS: Final = Statement(
    lambda sql: (
        f"""
SELECT ended.id AS id FROM ({_ENDED}) AS ended JOIN jobs ON jobs.id = ended.id
WHERE {sql.has_labels("jobs.labels", "labels")} ORDER BY ended.end_time DESC, ended.id DESC LIMIT :limit
"""
    )
)
_LAST = Statement(_ENDED)
_JOBS = Statement(
    lambda sql: (
        f"""
SELECT jobs.id AS id, jobs.submit_time AS submit_time, jobs.end_time AS end_time, jobs.conclusion AS conclusion,
    run.start_time AS start_time, run.tests AS tests, report.coverage_lines AS lines, report.covered_lines AS covered
FROM jobs
LEFT JOIN attempts AS run ON run.job_id = jobs.id AND run.number = jobs.attempt
LEFT JOIN test_runs AS report
    ON report.job_id = jobs.id AND report.attempt = jobs.attempt AND report.has_coverage = 1
WHERE jobs.id IN {sql.members("ids")}
"""
    )
)
_RUNS = Statement(f"""
SELECT jobs.id AS id, jobs.attempt AS attempt, jobs.submit_time AS submit_time
FROM ({_ENDED}) AS ended
JOIN jobs ON jobs.id = ended.id
JOIN attempts AS run ON run.job_id = jobs.id AND run.number = jobs.attempt
WHERE run.tests IS NOT NULL
ORDER BY ended.end_time DESC, ended.id DESC LIMIT :limit
""")
_RESULTS = Statement("""
SELECT first, keys, statuses, flaky, changes, times FROM test_results WHERE job_id = :job_id AND attempt = :attempt
""")
_FIRSTS = Statement("SELECT first FROM test_results WHERE job_id = :job_id AND attempt = :attempt ORDER BY first")
_PAGE = Statement(
    lambda sql: (
        f"""
SELECT {COLUMNS} FROM test_results WHERE job_id = :job_id AND attempt = :attempt
AND CAST(first AS text) IN {sql.members("firsts")} ORDER BY first
"""
    )
)


@dataclass(frozen=True, slots=True)
class EndedJob:
    """One job of a trend. Times are microseconds since 1970 UTC."""

    job_id: str
    submit_time: int
    start_time: int | None
    end_time: int
    conclusion: Conclusion
    tests: CaseSummary | None
    coverage: float | None
    """In percent."""

    @property
    def seconds(self) -> float | None:
        """How long its own code took; None if it never started."""
        return None if self.start_time is None else max(0, self.end_time - self.start_time) / 1e6

    @property
    def waited_seconds(self) -> float | None:
        """How long it took until that could start."""
        return None if self.start_time is None else max(0, self.start_time - self.submit_time) / 1e6


class TrendStore:
    """The trends of one installation's projects. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def jobs(self, project: str, labels: Mapping[str, str], *, limit: int) -> list[EndedJob]:
        """Return at most `limit` of the project's last jobs that have ended, those first that ended last.

        Only those with these labels, among the last LOOKED_AT.
        """
        operation = partial(_ended_jobs, project=project, labels=labels, limit=limit)
        return await self._database.search(operation)

    async def cases(
        self, project: str, order: CaseOrder, *, runs: int, limit: int
    ) -> tuple[int, list[tuple[CaseResult, CaseTotals]]]:
        """Return over how many of the project's last runs its tests were counted, and at most `limit` of these.

        Runs are jobs that have ended and have tests, at most `runs`, and less where they have very many tests. Each
        test comes with its last result.
        """
        counted, number, totals = 0, 0, dict[str, CaseTotals]()
        for run in await self._database.search(partial(_runs, project=project, limit=runs)):
            if counted >= MOST_CASES:
                break
            rows = await self._database.search(partial(_rows, statement=_RESULTS, run=run))
            counted += await asyncio.to_thread(_add, totals, run, rows)
            number += 1
        chosen = await asyncio.to_thread(foremost, totals, order, _CANDIDATES * limit)
        return number, joined(chosen, await self._cases_of(chosen), order)[:limit]

    async def _cases_of(self, chosen: list[CaseTotals]) -> dict[Place, CaseResult]:
        """Return the last results of these tests."""
        positions = defaultdict[Run, list[int]](list)
        for each in chosen:
            positions[each.last.run].append(each.last.position)
        found = dict[Place, CaseResult]()
        for run, wanted in positions.items():
            page = await self._database.search(partial(_page, run=run, positions=wanted))
            cases = await asyncio.to_thread(cases_at, page, wanted)
            found |= {Place(run, case.position): case for case in cases}
        return found


def _add(totals: dict[str, CaseTotals], run: Run, rows: list[Row]) -> int:
    return add_run(totals, run, map(columns_of, rows))


async def _ended_jobs(session: Session, *, project: str, labels: Mapping[str, str], limit: int) -> list[EndedJob]:
    if labels:
        values = {"project": project, "labels": to_json(dict(labels)), "looked_at": LOOKED_AT, "limit": limit}
        last = await session.rows(_WITH_LABELS, values)
    else:
        last = await session.rows(_LAST, {"project": project, "looked_at": limit})
    ids = [row["id"] for row in last]
    rows = await session.rows(_JOBS, {"ids": to_json(ids)}) if ids else []
    found = {row["id"]: _ended_job(row) for row in rows}
    return [found[job_id] for job_id in ids if job_id in found]


def _ended_job(row: Row) -> EndedJob:
    return EndedJob(
        job_id=row["id"],
        submit_time=row["submit_time"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        conclusion=Conclusion(row["conclusion"]),
        tests=None if row["tests"] is None else CaseSummary.from_stored(json.loads(row["tests"])),
        coverage=_percent(row["lines"], row["covered"]),
    )


def _percent(lines: int | None, covered: int | None) -> float | None:
    if lines is None or covered is None:
        return None
    return round(100 * covered / lines, 2) if lines else 100.0


async def _runs(session: Session, *, project: str, limit: int) -> list[Run]:
    values = {"project": project, "looked_at": LOOKED_AT, "limit": limit}
    return [Run(row["id"], row["attempt"], row["submit_time"]) for row in await session.rows(_RUNS, values)]


async def _rows(session: Session, *, statement: Statement, run: Run) -> list[Row]:
    return await session.rows(statement, {"job_id": run.job_id, "attempt": run.attempt})


async def _page(session: Session, *, run: Run, positions: list[int]) -> list[Row]:
    key = {"job_id": run.job_id, "attempt": run.attempt}
    firsts = firsts_of(positions, [row["first"] for row in await session.rows(_FIRSTS, key)])
    return await session.rows(_PAGE, {**key, "firsts": to_json([str(first) for first in firsts])})
