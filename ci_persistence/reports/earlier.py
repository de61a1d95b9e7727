"""What is known of a project's tests from before one attempt, for the comparison with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ci_common.attempts.columns import CHANGE_LETTERS, LETTERS, CaseColumns
from ci_common.attempts.testing import BROKEN, CaseChange, CaseStatus

_BROKEN = frozenset(LETTERS[status] for status in BROKEN)
_PASSED = LETTERS[CaseStatus.PASSED]
_NOTHING = (None, None)


@dataclass(slots=True)
class Earlier:
    """The last results of tests, and their verdicts on the same content."""

    last: dict[str, tuple[str | None, float | None]] = field(default_factory=dict)
    """Letter of the status and seconds of each test that is known, by key."""
    passed: set[str] = field(default_factory=set)
    """The keys of tests that have passed on the same content."""
    broken: set[str] = field(default_factory=set)
    """The keys of tests that have failed on it."""

    def add_run(self, keys: Sequence[str], statuses: str, seconds: Sequence[float | None]) -> None:
        """Add a run that is older than those that were added before."""
        found: dict[str, tuple[str | None, float | None]]
        found = dict(zip(keys, zip(statuses, seconds, strict=True), strict=True))
        self.last.update({key: found[key] for key in found.keys() - self.last.keys()} if self.last else found)

    def add_verdicts(self, keys: Sequence[str], statuses: str) -> None:
        """Add a run on the same content."""
        if statuses.count(_PASSED) == len(statuses):
            self.passed.update(keys)
            return
        self.passed.update(key for key, status in zip(keys, statuses, strict=True) if status == _PASSED)
        self.broken.update(key for key, status in zip(keys, statuses, strict=True) if status in _BROKEN)

    def compare(self, columns: CaseColumns) -> None:
        """Set what has become of these tests, what they took before, and which are flaky."""
        known = [self.last.get(key, _NOTHING) for key in columns.keys]
        columns.seconds_before = [seconds for _, seconds in known]
        if not any(before in _BROKEN for before, _ in known) and _BROKEN.isdisjoint(columns.statuses):
            return self._mark_flaky(columns)
        columns.changes = "".join(
            CHANGE_LETTERS[_change(status, before)] for status, (before, _) in zip(columns.statuses, known, strict=True)
        )
        return self._mark_flaky(columns)

    def _mark_flaky(self, columns: CaseColumns) -> None:
        if not self.broken and _BROKEN.isdisjoint(columns.statuses):
            return
        columns.flaky = "".join(
            "1" if flaky == "1" or self._has_both(key, status) else "0"
            for key, status, flaky in zip(columns.keys, columns.statuses, columns.flaky, strict=True)
        )

    def _has_both(self, key: str, status: str) -> bool:
        return key in self.passed if status in _BROKEN else status == _PASSED and key in self.broken


def _change(status: str, before: str | None) -> CaseChange | None:
    if status in _BROKEN:
        return CaseChange.STILL_FAILING if before in _BROKEN else CaseChange.NEWLY_FAILING
    return CaseChange.FIXED if status == _PASSED and before in _BROKEN else None
