"""What the tests of a project came to over its last runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from ci_common.attempts.columns import LETTERS, CaseColumns
from ci_common.attempts.testing import CaseResult, CaseStatus

CaseOrder = Literal["flaky", "slowest", "failing"]
"""The most often flaky, the longest, or the most often failed first."""
_PASSED: Final = LETTERS[CaseStatus.PASSED]
_SKIPPED: Final = LETTERS[CaseStatus.SKIPPED]


class Run(NamedTuple):
    """An attempt with tests."""

    job_id: str
    attempt: int
    submit_time: int
    """Microseconds since 1970 UTC."""


class Place(NamedTuple):
    """Where a result of a test is."""

    run: Run
    position: int


@dataclass(slots=True)
class CaseTotals:
    """The results of one test over some runs, the newest of which came first."""

    last: Place
    """The newest of them."""
    runs: int = 0
    passed: int = 0
    failed: int = 0
    """Also those with an error."""
    skipped: int = 0
    flaky: int = 0
    timed: int = 0
    """How many of them say how long they took."""
    seconds: float = 0.0
    longest: float = 0.0

    def add(self, letter: str, flaky: str, seconds: float | None) -> None:
        """Take one result."""
        self.runs += 1
        if letter == _PASSED:
            self.passed += 1
        elif letter == _SKIPPED:
            self.skipped += 1
        else:
            self.failed += 1
        self.flaky += flaky == "1"
        if seconds is not None:
            self.timed += 1
            self.seconds += seconds
            self.longest = max(self.longest, seconds)

    def join(self, other: "CaseTotals") -> None:
        """Take all results of the same test under another key; they are older."""
        for name in ("runs", "passed", "failed", "skipped", "flaky", "timed", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.longest = max(self.longest, other.longest)

    @property
    def mean(self) -> float | None:
        """How many seconds it took on average."""
        return self.seconds / self.timed if self.timed else None

    def rank(self, order: CaseOrder) -> tuple[float, float]:
        """Return what the largest of comes first; with a first part of 0, it is not among those that were asked for."""
        if order == "slowest":
            return self.mean or 0.0, self.longest
        return (self.flaky, self.failed) if order == "flaky" else (self.failed, self.flaky)


def add_run(totals: dict[str, CaseTotals], run: Run, parts: Iterable[CaseColumns]) -> int:
    """Add the tests of a run, which is older than those before; return how many there were."""
    number = 0
    for part in parts:
        number += len(part)
        for place, key in enumerate(part.keys):
            known = totals.get(key)
            if known is None:
                known = totals[key] = CaseTotals(Place(run, part.first + place))
            known.add(part.statuses[place], part.flaky[place], part.seconds[place])
    return number


def foremost(totals: Mapping[str, CaseTotals], order: CaseOrder, limit: int) -> list[CaseTotals]:
    """Return at most `limit` of the tests that were asked for."""
    ranked = sorted((each for each in totals.values() if each.rank(order)[0]), key=_by(order))
    return ranked[:limit]


def joined(
    chosen: Sequence[CaseTotals], cases: Mapping[Place, CaseResult], order: CaseOrder
) -> list[tuple[CaseResult, CaseTotals]]:
    """Return tests by name, in order: the same test has another key in jobs of another owner."""
    found: dict[tuple[str, str, str], tuple[CaseResult, CaseTotals]] = {}
    for each in sorted(chosen, key=lambda totals: totals.last.run.job_id, reverse=True):
        case = cases.get(each.last)
        if case is None:
            continue
        name = case.suite, case.class_name, case.name
        if name in found:
            found[name][1].join(each)
        else:
            found[name] = case, each
    return sorted(found.values(), key=lambda pair: _by(order)(pair[1]))


def _by(order: CaseOrder) -> Callable[[CaseTotals], tuple[float, ...]]:
    return lambda totals: tuple(-part for part in totals.rank(order))
