"""What `ci logs` shows of a log: all of it, or only certain lines."""

import re
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ci_cli.display.failure import step_range
from ci_client.aio import CiClient
from ci_client.errors import NoSuchStep
from ci_client.escapes import visible
from ci_client.events import log_bytes_of
from ci_common.wire.stream import Cursor

_TAILS = (64 * 1024, 4 * 1024 * 1024)
"""How many bytes at the end of a log are looked at for its last lines, before all of it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """Which lines are shown, and how."""

    attempt: int | None = None
    step: str | None = None
    since: datetime | None = None
    tail: int | None = None
    pattern: re.Pattern[str] | None = None
    timestamps: bool = False
    follow: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the log is shown as it is."""
        return self == LogView(attempt=self.attempt, follow=self.follow)


class Line(NamedTuple):
    """A line of a log, when it was written (if that is asked for), and where it ends."""

    data: bytes
    time: str
    end: Cursor


def parse_since(text: str) -> datetime:
    """Return a time, from how long ago it is (`10m`) or from itself. Raises ValueError."""
    from ci_common.parsing.values import parse_duration

    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
        except (ValueError, OverflowError):
            raise ValueError(
                f"{visible(repr(text))} is neither how long ago (10m, 2h) nor a time (2026-11-29T08:30)"
            ) from None
    return instant.astimezone() if instant.tzinfo is None else instant


async def shown_lines(client: CiClient, job_id: str, view: LogView) -> AsyncGenerator[bytes, None]:
    """Yield the lines that a view shows, each as the bytes of the log. Raises NoSuchStep."""
    job = await client.get_job(job_id)
    attempt = view.attempt or job.get("attempt") or 1
    record = next((each for each in job.get("attempts") or [] if each["attempt"] == attempt), job)
    start, end = 0, int(record.get("log_bytes") or 0)
    if view.step is not None:
        start, end = step_range(record, _step(record, view.step))
    if view.tail is not None and view.pattern is None and view.since is None and not view.follow:
        start = await _tail_start(client, job_id, attempt, start, end, view.tail)
    stop = Cursor(attempt, end)
    lines = (
        _streamed(client, job_id, Cursor(attempt, start), None if view.follow else stop)
        if view.follow or view.timestamps or view.since is not None
        else _stored(client, job_id, attempt, start, end)
    )
    held: deque[Line] | None = None if view.tail is None else deque(maxlen=view.tail)
    async with aclosing(lines):
        async for line in lines:
            if held is not None and line.end > stop:
                for earlier in held:
                    yield _written(earlier, view)
                held = None
            if not _is_shown(line, view):
                continue
            if held is not None:
                held.append(line)
            else:
                yield _written(line, view)
    for earlier in held or ():
        yield _written(earlier, view)


def _step(record: dict[str, Any], name: str) -> dict[str, Any]:
    steps = record.get("steps") or []
    for step in steps:
        if name in (step["name"], step["name"].removeprefix("step ")):
            return step  # type: ignore[no-any-return]
    known = ", ".join(visible(step["name"]) for step in steps)
    raise NoSuchStep(
        f"the job has no step {visible(repr(name))}; " + (f"it has {known}" if known else "none has begun")
    )


def _is_shown(line: Line, view: LogView) -> bool:
    if view.since is not None and datetime.fromisoformat(line.time) < view.since:
        return False
    return view.pattern is None or view.pattern.search(line.data.decode(errors="replace").rstrip("\r\n")) is not None


def _written(line: Line, view: LogView) -> bytes:
    data = line.data if line.data.endswith(b"\n") or view.is_whole else line.data + b"\n"
    return f"{line.time} ".encode() + data if view.timestamps else data


async def _tail_start(client: CiClient, job_id: str, attempt: int, start: int, end: int, count: int) -> int:
    """Return where the last lines begin."""
    for size in _TAILS:
        begin = max(start, end - size)
        if begin == start:
            return start
        data = b"".join([chunk async for chunk in client.log(job_id, attempt=attempt, start=begin, end=end)])
        whole = data.removesuffix(b"\n")
        if whole.count(b"\n") >= count:
            kept = whole.rsplit(b"\n", count)[1:] if count else []
            return end - len(b"\n".join(kept)) - (len(data) - len(whole)) if kept else end
    return start


async def _stored(client: CiClient, job_id: str, attempt: int, start: int, end: int) -> AsyncGenerator[Line, None]:
    rest, place = b"", start
    async for chunk in client.log(job_id, attempt=attempt, start=start, end=end):
        place += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        for data in whole:
            yield Line(data + b"\n", "", Cursor(attempt, place))
    if rest:
        yield Line(rest, "", Cursor(attempt, place))


async def _streamed(client: CiClient, job_id: str, start: Cursor, stop: Cursor | None) -> AsyncGenerator[Line, None]:
    """Yield lines with the time of the piece of the log that each began in, up to `stop` or the end of the job."""
    if stop is not None and stop <= start:
        return
    rest, time, place = b"", "", start
    async with aclosing(client.stream(job_id, last_id=str(start))) as events:
        async for event in events:
            if event["type"] != "log":
                continue
            data, place = log_bytes_of(event), Cursor.parse(event["id"])
            if stop is not None and place > stop:
                data, place = data[: len(data) - (place.offset - stop.offset)], stop
            time = time if rest else event["time"]
            *whole, new = (rest + data).split(b"\n")
            offset = place.offset - len(new) - sum(len(line) + 1 for line in whole)
            for line in whole:
                offset += len(line) + 1
                yield Line(line + b"\n", time, Cursor(place.attempt, max(offset, 0)))
                time = event["time"]
            rest = new
            if stop is not None and place >= stop:
                break
    if rest:
        yield Line(rest, time, place)
