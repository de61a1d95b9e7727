"""Lines of a job's log by their numbers, and a search in them. The log is read as a stream; lines are bounded."""

import re
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ci_cli.agents.limits import NotAnswerable
from ci_client.aio import CiClient
from ci_client.logs.excerpts import FailureExcerpt
from ci_client.logs.plain import LogLine, plain

_LONGEST_RAW = 64 * 1024
_SEARCH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a log is meant: the whole, or what one step has written."""

    attempt: int | None = None
    start: int = 0
    end: int | None = None


def part_of(job: dict[str, Any], step: str | None, attempt: int | None) -> Part:
    """Return the part of the log that a step has written; without a step, the whole. Raises NotAnswerable."""
    records = [record for record in job.get("attempts") or [] if record["attempt"] == attempt]
    steps = (records[0] if records else job).get("steps") or []
    if step is None:
        return Part(attempt)
    for place, found in enumerate(steps):
        if found["name"] == step:
            later = [each["log_offset"] for each in steps[place + 1 :] if each["log_offset"] > found["log_offset"]]
            return Part(attempt, found["log_offset"], later[0] if later else None)
    names = ", ".join(repr(each["name"]) for each in steps) or "none has begun"
    raise NotAnswerable(f"the job has no step {step!r}; its steps are: {names}")


async def failure_lines(client: CiClient, job: dict[str, Any], max_bytes: int) -> list[LogLine]:
    """Return the lines that matter of a failed job's log: of the step that failed, or of the whole."""
    failed = [step["log_offset"] for step in job.get("steps") or [] if step["status"] == "failed"]
    excerpt = FailureExcerpt()
    place = 0
    async with aclosing(client.log(job["job_id"])) as chunks:
        async for chunk in chunks:
            before = failed[-1] - place if failed else 0
            place += len(chunk)
            if 0 < before <= len(chunk):
                excerpt.feed(chunk[:before])
                excerpt.begin_part()
                chunk = chunk[before:]
            excerpt.feed(chunk)
    return excerpt.lines(max_bytes)


async def last_lines(client: CiClient, job: dict[str, Any], number: int) -> list[str]:
    """Return the last lines of a log so far, without numbers."""
    length = job.get("log_bytes") or 0
    if not length:
        return []
    data = b""
    async with aclosing(client.log(job["job_id"], start=max(0, length - 4096))) as chunks:
        async for chunk in chunks:
            data = (data + chunk)[-_LONGEST_RAW:]
    return [text for line in data.split(b"\n") if (text := plain(line, longest=200))][-number:]


@dataclass(slots=True)
class Window:
    """Lines that were read, and how many the part of the log has."""

    lines: list[LogLine]
    total: int
    first: int
    """The number of the part's first line."""


async def read_window(
    client: CiClient, job_id: str, part: Part, *, start: int | None, tail: int | None, limit: int
) -> Window:
    """Return `limit` lines from the number `start` on, or else the last `tail` ones."""
    kept: deque[tuple[int, bytes]] = deque(maxlen=tail if start is None else None)
    first = total = 0
    async for number, line in _numbered(client, job_id, part):
        first = first or number
        total += 1
        if start is None or (number >= start and len(kept) < limit):
            kept.append((number, line))
    return Window([LogLine(number, plain(line)) for number, line in kept], total, first or 1)


@dataclass(slots=True)
class Hits:
    """What a search has found."""

    lines: list[LogLine]
    matching: set[int]
    total: int
    """How many lines match, of which the first ones are shown."""


async def search(
    client: CiClient, job_id: str, part: Part, matches: Callable[[str], bool], *, context: int, limit: int
) -> Hits:
    """Return the first `limit` lines that match, each with `context` lines around it. Raises NotAnswerable."""
    before: deque[tuple[int, bytes]] = deque(maxlen=context)
    found = Hits([], set(), 0)
    after = 0
    async for number, line in _numbered(client, job_id, part):
        text = plain(line)
        if matches(text):
            found.total += 1
            if len(found.matching) < limit:
                found.lines += [LogLine(at, plain(earlier)) for at, earlier in before]
                found.lines.append(LogLine(number, text))
                found.matching.add(number)
                before.clear()
                after = context
                continue
        if after:
            after -= 1
            found.lines.append(LogLine(number, text))
        elif context:
            before.append((number, line))
    return found


def matcher(pattern: str, *, regex: bool) -> Callable[[str], bool]:
    """Return a function that says whether a line has the pattern. All its calls together take at most 5 s.

    Text matches in any case. Raises NotAnswerable for an invalid expression; the function does if it takes too long.
    """
    if not regex:
        wanted = pattern.casefold()
        return lambda line: wanted in line.casefold()
    try:
        compiled = re.compile(pattern)
    except re.error as exc:
        raise NotAnswerable(f"the pattern {pattern!r} is not a regular expression: {exc}") from exc
    left = _SEARCH_SECONDS

    def matches(line: str) -> bool:
        nonlocal left
        with _limited(left) as remaining:
            found = compiled.search(line) is not None
        left = remaining()
        return found

    return matches


@contextmanager
def _limited(seconds: float) -> Iterator[Callable[[], float]]:
    """Interrupt what takes longer than `seconds`; the yielded function says what was left. Only in the main thread."""

    def too_slow(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a signal handler's signature
        raise NotAnswerable("the search takes too long with this pattern; give a simpler one, or plain text")

    left = seconds
    previous = signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield lambda: left
    finally:
        left = signal.setitimer(signal.ITIMER_REAL, 0)[0]
        signal.signal(signal.SIGALRM, previous)


async def _numbered(client: CiClient, job_id: str, part: Part) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the lines of a part of the log, with the numbers that they have in the whole log."""
    number = 1
    open_line = b""
    place = 0
    async with aclosing(client.log(job_id, attempt=part.attempt, end=part.end)) as chunks:
        async for chunk in chunks:
            if place < part.start:
                skipped = min(part.start - place, len(chunk))
                number += chunk.count(b"\n", 0, skipped)
                place += skipped
                chunk = chunk[skipped:]
            place += len(chunk)
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                yield number, open_line + line
                open_line = b""
                number += 1
            open_line = (open_line + rest)[:_LONGEST_RAW]
    if open_line:
        yield number, open_line
