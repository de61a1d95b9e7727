"""Tests out of the rows that have them: those of a page, and the results of one test."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ci_common.attempts.columns import STATUSES, CaseColumns
from ci_common.attempts.testing import CaseResult, CaseStatus
from ci_persistence.database import Row
from ci_persistence.reports.choosing import After, CaseFilter, Order, chosen
from ci_persistence.reports.rows import columns_of


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


def chosen_in(rows: Sequence[Row], where: CaseFilter, order: Order, limit: int, after: After | None) -> list[int]:
    """Return the positions of the tests of a page. The rows have those columns that filter and order need."""
    return chosen([columns_of(row) for row in rows], where, order=order, limit=limit, after=after)


def firsts_of(positions: Iterable[int], firsts: Sequence[int]) -> list[int]:
    """Return the first positions of the rows that these positions are in."""
    return sorted({firsts[bisect_right(firsts, position) - 1] for position in positions})


def cases_at(page: Sequence[Row], positions: Sequence[int]) -> list[CaseResult]:
    """Return the tests at these positions, in their order."""
    ascending, found = sorted(positions), dict[int, CaseResult]()
    for part in map(columns_of, page):
        here = ascending[bisect_left(ascending, part.first) : bisect_left(ascending, part.first + len(part))]
        found |= {case.position: case for case in part.cases(position - part.first for position in here)}
    return [found[position] for position in positions if position in found]


def with_history(row: Row, rows: Sequence[Row], key: str) -> tuple[CaseResult, list[Past]]:
    """Return the test with this key in `row`, and its results in the others."""
    return _case_of(columns_of(row), key), [_past(row, key) for row in rows]


def _case_of(part: CaseColumns, key: str) -> CaseResult:
    return next(part.cases([part.keys.index(key)]))


def _past(row: Row, key: str) -> Past:
    part = columns_of(row)
    place = part.keys.index(key)
    texts = part.texts.get(place)
    return Past(
        row["job_id"],
        row["attempt"],
        row["submit_time"],
        STATUSES[part.statuses[place]],
        part.seconds[place],
        part.flaky[place] == "1",
        None if texts is None else texts[0],
    )
