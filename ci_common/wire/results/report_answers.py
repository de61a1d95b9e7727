"""What the API answers of reports, as models; see `answers`."""

from typing import Annotated

from pydantic import Field

from ci_common.attempts.testing import CaseChange, CaseStatus
from ci_common.wire.answers import CaseSummaryView, Instant, JobId, Shown

Status = Annotated[CaseStatus, Field(strict=False)]


class CaseView(Shown):
    """The result of one test."""

    id: str = Field(description="the same for the same test in all jobs of a project")
    suite: str
    class_name: str
    name: str
    status: Status
    seconds: float | None = Field(ge=0, description="null if the report does not say")
    file: str | None = Field(description="where it failed, or else where the test is, as far as the report says")
    line: int | None = Field(ge=0)
    message: str | None
    details: str | None = Field(description="the traceback, cut in its middle if it is long; only of tests that failed")
    output: str | None = Field(description="what the test wrote, cut in the same way; only of tests that failed")
    selector: str | None = Field(description="what pytest takes to run only this test; only of tests that failed")
    flaky: bool = Field(description="whether both verdicts are known on the same content")
    change: Annotated[CaseChange | None, Field(strict=False)] = Field(
        description="since the test ran last in the same project"
    )
    seconds_before: float | None = Field(ge=0, description="what it took then")


class PastView(Shown):
    """One result of a test."""

    job_id: JobId
    attempt: int = Field(ge=1)
    submit_time: Instant
    status: Status
    seconds: float | None
    flaky: bool
    message: str | None


class CaseHistoryView(Shown):
    """A test, and its results in the jobs of the project."""

    test: CaseView
    history: list[PastView] = Field(description="the newest first")


class ReportFileView(Shown):
    """A file that was read as a report."""

    path: str
    kind: str = Field(description="`junit`, `cobertura` or `lcov`")
    tests: int = Field(ge=0)
    problem: str | None = Field(description="why it is not read, or not to its end")


class CoveredFileView(Shown):
    """The coverage of one file."""

    path: str
    lines: int = Field(ge=0)
    covered: int = Field(ge=0)
    percent: float
    missing: list[list[int]] = Field(description="the lines without coverage, as pairs of the first and the last one")


class LostCoverageView(Shown):
    """A file that has lost coverage."""

    path: str
    percent: float
    percent_before: float


class CoverageBeforeView(Shown):
    """The coverage of the project's last job that has any."""

    job_id: JobId
    percent: float
    lost: list[LostCoverageView] = Field(description="the files that have lost most since, at most 20")


class CoverageView(Shown):
    """How many lines were run."""

    percent: float
    lines: int = Field(ge=0)
    covered: int = Field(ge=0)
    change: float | None = Field(description="in percentage points since `before`; null without it")
    before: CoverageBeforeView | None
    files: list[CoveredFileView] = Field(description="at most 5,000")
    files_total: int = Field(ge=0)


class ReportsView(Shown):
    """What the reports of an attempt say."""

    tests: CaseSummaryView | None
    files: list[ReportFileView]
    problems: list[str]
    coverage: CoverageView | None
