"""The output of an attempt: its log, with the times of its bytes, and its steps."""

import base64
import codecs
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from ci_common.attempts.parts import StepResult, StepStatus
from ci_common.jobs import ACTIVE_STATES, Job
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.untrusted_files import read_capped
from ci_common.times import Milestone, from_micros, to_micros

CHUNK_BYTES = 64 * 1024
"""The most bytes of the log in one event."""

TIMES_SECONDS = 0.1
"""The shortest time between two entries in the index of a log's times."""

TIME_ENTRY = struct.Struct("<QQ")
"""An entry of the index of a log's times: an instant in microseconds since 1970 UTC, and the length of the log then."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive bytes of the log, as the text of one event."""

    text: str
    """With U+FFFD in place of invalid UTF-8."""
    size: int
    """The number of bytes."""
    exact: str | None
    """The bytes in base64 if `text` does not represent them exactly, else None."""


def cut_piece(data: bytes, *, final: bool) -> Piece | None:
    """Return as much of `data` as can be shown now, or None if nothing can.

    Cuts never lie inside a UTF-8 sequence, so a reader that resumes at the offset of an event reads the same text as
    one that stayed. An incomplete sequence at the end is left for the next piece, unless this is the `final` one.
    Incomplete lines are part of the piece.
    """
    try:
        return Piece(data.decode(), len(data), None) if data else None
    except UnicodeDecodeError:
        pass  # Cut inside a sequence, or not UTF-8.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final=final)
    size = len(data) - len(decoder.getstate()[0])
    if size == 0:
        return None
    shown = data[:size]
    exact = base64.b64encode(shown).decode() if "�" in text and text.encode() != shown else None
    return Piece(text, size, exact)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the log from `start` up to, not including, `end`, all first seen at `instant`."""

    start: int
    end: int
    instant: datetime


class LogTimes:
    """The index `<attempt>.times`: pairs of (instant, length of the log at that time), both growing.

    The controller writes it about ten times a second while a job writes, so times have that precision. It is outside of
    the mounted run directory, so it can be trusted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, instant: datetime, length: int) -> None:
        """Note that the log had `length` bytes at `instant`, or at the last noted time if that is later."""
        with self._entries() as entries:
            whole, last = len(entries), entries[-1][0] if entries else 0
        with self._path.open("ab") as file:
            file.truncate(whole * TIME_ENTRY.size)  # A full disk may have truncated the last entry.
            file.write(TIME_ENTRY.pack(max(last, to_micros(instant)), length))

    def last_length(self) -> int:
        """Return the length noted last; 0 if none was."""
        with self._entries() as entries:
            return entries[-1][1] if entries else 0

    def time_of(self, offset: int) -> datetime | None:
        """Return when the byte at `offset` was first seen, or None if that is not noted (yet)."""
        span = self.span_of(offset)
        return None if span is None else span.instant

    def span_of(self, offset: int) -> "Span | None":
        """Return the bytes that were first seen with the one at `offset`, or None if that is not noted (yet)."""
        with self._entries() as entries:
            if not entries or entries[-1][1] <= offset:
                return None
            position = bisect_left(entries, offset + 1, key=lambda entry: entry[1])
            instant, end = entries[position]
            return Span(entries[position - 1][1] if position else 0, end, from_micros(instant))

    def spans(self, start: int, end: int, most: int) -> list[Span]:
        """Return, in order, the noted spans with bytes from `start` up to `end`; of them, the first `most`."""
        found: list[Span] = []
        with self._entries() as entries:
            position = bisect_left(entries, start + 1, key=lambda entry: entry[1])
            begin = entries[position - 1][1] if position else 0
            while begin < end and position < len(entries) and len(found) < most:
                instant, length = entries[position]
                if begin < length:
                    found.append(Span(begin, length, from_micros(instant)))
                begin, position = length, position + 1
        return found

    def offset_at(self, instant: datetime) -> int:
        """Return the length of the log at `instant`, which is the offset of everything written later."""
        with self._entries() as entries:
            position = bisect_left(entries, to_micros(instant), key=lambda entry: entry[0])
            return entries[position - 1][1] if position else 0

    @contextmanager
    def _entries(self) -> Iterator[Sequence[tuple[int, int]]]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield ()
            return
        try:
            yield _Entries(descriptor)
        finally:
            os.close(descriptor)


class _Entries(Sequence[tuple[int, int]]):
    """The index as a sequence that reads only requested entries, so that a binary search is cheap."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._length = os.fstat(descriptor).st_size // TIME_ENTRY.size

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        position = range(self._length)[index]
        instant, length = TIME_ENTRY.unpack(os.pread(self._descriptor, TIME_ENTRY.size, position * TIME_ENTRY.size))
        return instant, length


_RECORDS_PER_STEP = 2
_RECORD_BYTES = 160
"""More than any record that the script writes."""


class _Record(BaseModel):
    step: int = Field(ge=0)
    event: str
    code: int | None = Field(None, ge=0, le=255)
    timed_out: bool = False
    uptime: str = ""
    offset: str = ""


def most_bytes(steps: int) -> int:
    """Return the most bytes that the script writes for so many steps."""
    return steps * _RECORDS_PER_STEP * _RECORD_BYTES


def read_steps(run: RunDirectory, names: tuple[str, ...], start_time: datetime | None) -> tuple[StepResult, ...]:
    """Return the steps of an attempt that have begun or were left out, in order.

    `names` are the plan's step names; `start_time` is when the job's own code could start.
    """
    raw = read_capped(run.steps, most_bytes(len(names)))
    if not raw or start_time is None:
        return ()
    base = run.started_uptime()
    results: dict[int, StepResult] = {}
    for line in raw.split(b"\n", _RECORDS_PER_STEP * len(names))[: _RECORDS_PER_STEP * len(names)]:
        try:
            record = _Record.model_validate_json(line)
        except ValidationError:
            continue
        if record.step >= len(names):
            continue
        instant = _instant(record.uptime, base, start_time)
        begun = results.get(record.step)
        if record.event == "start" and begun is None:
            results[record.step] = StepResult(
                names[record.step], StepStatus.RUNNING, instant, log_offset=_number(record.offset)
            )
        elif record.event == "skip" and begun is None:
            results[record.step] = StepResult(
                names[record.step],
                StepStatus.SKIPPED,
                instant,
                log_offset=_number(record.offset),
                end_time=instant,
                reason="a step before it failed" if record.code else "no step before it failed",
            )
        elif record.event == "end" and begun is not None and record.code is not None:
            results[record.step] = StepResult(
                begun.name,
                StepStatus.SUCCEEDED if record.code == 0 else StepStatus.FAILED,
                begun.start_time,
                begun.log_offset,
                exit_code=record.code,
                end_time=max(instant, begun.start_time),
                reason="it ran for longer than its timeout" if record.timed_out else None,
            )
    return tuple(results[number] for number in sorted(results))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _instant(uptime: str, base: float | None, start_time: datetime) -> datetime:
    try:
        return start_time + timedelta(seconds=max(0.0, float(uptime) - base)) if base is not None else start_time
    except (ValueError, OverflowError):
        return start_time


def step_names(job: Job) -> tuple[str, ...]:
    """Return the names of the steps in the job's plan."""
    return tuple(str(step["name"]) for step in (job.plan or {}).get("steps", ()))


def live_steps(job: Job, run: RunDirectory) -> tuple[StepResult, ...]:
    """Return the steps that have begun: from the row once the job has completed, from its run directory before."""
    return read_steps(run, step_names(job), job.start_time) if job.state in ACTIVE_STATES else job.steps


def character_start(descriptor: int, offset: int) -> int:
    """Return `offset`, or where the UTF-8 sequence begins whose middle it is, be it one that is not complete yet."""
    before = os.pread(descriptor, min(3, offset), max(0, offset - 3))
    return sequence_start(before, os.pread(descriptor, 1, offset), offset)


def sequence_start(before: bytes, following: bytes, offset: int) -> int:
    """Return the same, from the three bytes before `offset` and the one behind it, as far as there are any."""
    if following and following[0] & 0xC0 != 0x80:
        return offset
    for back in range(1, len(before) + 1):
        byte = before[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return offset - back if length > back else offset
    return offset


def milestones_in_files(run: RunDirectory) -> dict[str, int]:
    """Return the milestones that can be read from the files of an attempt, whichever controller ran it.

    The gate is as precise as Linux's file times, up to 10 ms; the first output as the index of the log's times, 100 ms.
    """
    gate = run.started_at()
    output = LogTimes(run.times).time_of(0)
    found = {Milestone.GATE_OPENED: gate, Milestone.FIRST_OUTPUT: output}
    return {milestone: to_micros(instant) for milestone, instant in found.items() if instant is not None}
