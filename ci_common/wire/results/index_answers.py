"""The index of a log, and the times of its bytes, as the API answers them; see `answers`."""

from pydantic import Field

from ci_common.wire.answers import Shown, StepView
from ci_common.wire.parts import Instant


class LogStepView(StepView):
    """A step, and where its output is."""

    seconds: float | None = Field(ge=0, description="how long it took; null while it runs")
    end_offset: int | None = Field(ge=0, description="byte offset behind its output; null while it may write more")
    start_line: int | None = Field(ge=1, description="the line in which its output begins; null where not indexed yet")
    end_line: int | None = Field(
        ge=1, description="the last line with output of it so far; null if it has written none, or not indexed yet"
    )


class LogTimeView(Shown):
    """When bytes of a log were written."""

    offset: int = Field(ge=0, description="the first of them; the next of the list has the first one of later bytes")
    time: Instant = Field(description="when they were first seen, to a tenth of a second")


class LogTimesView(Shown):
    """When the bytes of a part of a log were written."""

    attempt: int = Field(ge=1)
    start: int = Field(ge=0, description="the part that this is about begins with this byte")
    end: int = Field(
        ge=0, description="and ends before this one; if that is less than was asked for, ask again from here"
    )
    times: list[LogTimeView] = Field(description="in order; the first one may begin before `start`")


class LogIndexView(Shown):
    """Where the lines of a log begin."""

    attempt: int = Field(ge=1)
    log_bytes: int = Field(ge=0, description="length of the log so far")
    indexed_bytes: int = Field(ge=0, description="how much of it the index covers; if less, ask again")
    lines: int = Field(ge=0, description="lines in that, with a last one that has not ended")
    complete: bool = Field(description="whether the attempt has ended, and the index covers its log")
    every: int = Field(ge=1000)
    first_line: int = Field(ge=1, description="the number of the line that the first of `offsets` belongs to")
    offsets: list[int] = Field(
        description="where that line and each `every`-th behind it begin, as byte offsets in the log"
    )
    steps: list[LogStepView]
