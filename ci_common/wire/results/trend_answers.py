"""How a project goes, as the API answers it; see `answers`."""

from typing import Annotated

from pydantic import Field

from ci_common.attempts.testing import CaseStatus
from ci_common.jobs import Conclusion
from ci_common.wire.answers import CaseSummaryView
from ci_common.wire.parts import Instant, JobId, Shown


class TrendJobView(Shown):
    """One job of a trend."""

    job_id: JobId
    conclusion: Annotated[Conclusion, Field(strict=False)]
    submit_time: Instant
    end_time: Instant
    seconds: float | None = Field(ge=0, description="how long its own code took; null if it never started")
    waited_seconds: float | None = Field(ge=0, description="how long it took until that could start")
    tests: CaseSummaryView | None
    coverage: float | None = Field(description="percentage of the lines that were run; null without a report")


class TrendSecondsView(Shown):
    """How long the jobs of a trend took that have succeeded or failed by themselves."""

    median: float
    p95: float
    longest: float


class TrendView(Shown):
    """How the last jobs of a project went."""

    project: str
    conclusions: dict[str, int] = Field(description="how many ended how")
    success: float | None = Field(
        ge=0, le=1, description="the part of those that succeeded or failed by themselves that succeeded; null if none"
    )
    seconds: TrendSecondsView | None = Field(description="null if none has started")
    jobs: list[TrendJobView] = Field(description="those first that ended last")


class LastCaseView(Shown):
    """The last result of a test."""

    job_id: JobId
    attempt: int = Field(ge=1)
    submit_time: Instant
    status: Annotated[CaseStatus, Field(strict=False)]
    seconds: float | None
    message: str | None


class CaseTotalsView(Shown):
    """A test over some runs."""

    id: str = Field(description="in its last job, for `GET /jobs/{id}/tests/{test}`, which has its history")
    suite: str
    class_name: str
    name: str
    file: str | None
    runs: int = Field(ge=1, description="in how many runs it has a result")
    passed: int = Field(ge=0)
    failed: int = Field(ge=0, description="also with an error")
    skipped: int = Field(ge=0)
    flaky: int = Field(ge=0, description="in how many of them both verdicts were known on the same content")
    mean_seconds: float | None = Field(ge=0)
    longest_seconds: float = Field(ge=0)
    last: LastCaseView


class ProjectTestsView(Shown):
    """The tests of a project over its last runs."""

    project: str
    runs: int = Field(ge=0, description="how many of the last jobs with tests were looked through")
    tests: list[CaseTotalsView]
