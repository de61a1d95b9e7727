"""What the tests of a job came to: the result of one test, and the summary of all."""

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self


class CaseStatus(StrEnum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    """What it checks does not hold."""
    ERROR = "error"
    """It could not check it, as when its preparation fails."""
    SKIPPED = "skipped"


BROKEN = frozenset({CaseStatus.FAILED, CaseStatus.ERROR})
"""What a test that did not hold up may have."""


class CaseChange(StrEnum):
    """What became of a test since it ran last in the same project."""

    NEWLY_FAILING = "newly_failing"
    """It fails, and did not fail then, or has not run before."""
    STILL_FAILING = "still_failing"
    FIXED = "fixed"
    """It passes, and failed then."""


@dataclass(slots=True, kw_only=True)
class CaseResult:
    """The result of one test. Texts are cut; only tests that failed, and those that are flaky, have any."""

    position: int
    """Among the job's tests, in the order of the reports, from 0."""
    key: str
    """The same for the same test in all jobs of a project, and for no other test."""
    suite: str
    class_name: str
    name: str
    status: CaseStatus
    seconds: float | None = None
    """None if the report does not say."""
    file: str | None = None
    """Where it failed, relative to the project where that is known; or where the test is."""
    line: int | None = None
    """Counted from 1."""
    message: str | None = None
    details: str | None = None
    """The traceback, or whatever else the report says of the failure."""
    output: str | None = None
    """What the test wrote."""
    selector: str | None = None
    """What the runner takes to run only this test; None where that is not known."""
    flaky: bool = False
    """Both verdicts are known on the same content."""
    change: CaseChange | None = None
    """None if nothing changed, or nothing earlier is known."""
    seconds_before: float | None = None
    """What it took when it ran last in the project."""


@dataclass(frozen=True, slots=True)
class CaseSummary:
    """How many tests of an attempt ended how. Counted from the tests, whatever the reports say about themselves."""

    total: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    errors: int = 0
    flaky: int = 0
    """Of all these, those that are flaky; one that passed in the end is among the passed."""
    seconds: float = 0.0
    """All tests together."""

    @classmethod
    def from_stored(cls, data: dict[str, Any]) -> Self:
        """Return what `stored` was made from; fields of later versions are left out."""
        return cls(**{field.name: data[field.name] for field in fields(cls) if field.name in data})

    def stored(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)
