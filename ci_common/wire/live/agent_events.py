"""The events that `ci run --agent --jsonl` writes instead of those of a job's stream."""

from typing import Annotated, Literal

from pydantic import Field

from ci_common.jobs import Conclusion
from ci_common.wire.answers import JobId, Shown, WireStatus


class BeginEvent(Shown):
    """The job exists. It is the first event."""

    version: Literal[1] = Field(alias="schema", description="of these events")
    type: Literal["begin"]
    job_id: JobId


class HeartbeatEvent(Shown):
    """The job has not ended."""

    type: Literal["heartbeat"]
    status: WireStatus
    text: str = Field(description="the step, how long the job runs, and how long it usually takes")


class FailedTest(Shown):
    """A test that failed."""

    name: str
    place: str = Field(description="FILE:LINE, FILE, or empty")
    message: str
    notes: list[str] = Field(description="`new`, `failed before, too`, `flaky`")


class ShownLine(Shown):
    """A line of the log."""

    number: int = Field(ge=1)
    text: str


class VerdictEvent(Shown):
    """The job has ended. Nothing follows."""

    type: Literal["verdict"]
    job_id: JobId
    conclusion: Annotated[Conclusion, Field(strict=False)]
    exit_code: int | None
    text: str = Field(description="how it has ended, in one line")
    failed: int = Field(ge=0, description="how many tests failed; `tests` has the first ones")
    tests: list[FailedTest]
    lines: list[ShownLine] = Field(description="the lines of the log that matter")
    next: list[str] = Field(description="commands that show more")


class LeftEvent(Shown):
    """The command ends, and the job goes on. Nothing follows."""

    type: Literal["failing", "still_running"] = Field(description="a test has failed, or the budget is used up")
    job_id: JobId
    text: str
    next: list[str] = Field(description="commands to go on with")
