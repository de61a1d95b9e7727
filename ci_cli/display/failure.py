"""What is told of a job that failed: its failed tests, or else the lines of its log that matter."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from ci_client.aio import CiClient
from ci_client.errors import ClientError
from ci_client.logs.excerpts import FailureExcerpt

_MOST_TESTS = 10
_LONGEST_MESSAGE = 300
_TAIL_BYTES = 256 * 1024
_SHOWN_BYTES = 1500
"""Of the lines that matter."""


async def failure_lines(client: CiClient, job: dict[str, Any]) -> list[str]:
    """Return lines about why a job failed; empty if the server is away, or nothing is known."""
    try:
        tests = await _failed_tests(client, job)
        if tests:
            return list(_told(tests))
        excerpt = FailureExcerpt()
        async for chunk in _end_of_failed_step(client, job):
            excerpt.feed(chunk)
    except ClientError:
        return []
    found = excerpt.lines(_SHOWN_BYTES)
    return ["from its log:", *(f"  {line.text}" for line in found)] if found else []


def failed_step(job: dict[str, Any]) -> dict[str, Any] | None:
    """Return the step by which a job failed, or None."""
    steps: list[dict[str, Any]] = [step for step in job.get("steps") or [] if step["status"] == "failed"]
    decisive = [step for step in steps if step.get("exit_code") == job.get("exit_code")]
    return next(iter(decisive or steps), None)


async def _failed_tests(client: CiClient, job: dict[str, Any]) -> list[dict[str, Any]]:
    if not job.get("tests"):
        return []
    return await client.tests(job["job_id"], limit=_MOST_TESTS + 1, status="failed")


def _told(tests: list[dict[str, Any]]) -> Iterator[str]:
    yield "1 test failed:" if len(tests) == 1 else f"{min(len(tests), _MOST_TESTS)} tests failed:"
    for test in tests[:_MOST_TESTS]:
        place = f"{test['file']}:{test['line']}: " if test.get("file") and test.get("line") else ""
        name = " ".join(text for text in (test.get("class_name"), test.get("name")) if text)
        flaky = " (flaky)" if test.get("flaky") else ""
        yield f"  {place}{name}{flaky}"
        message = (test.get("message") or "").strip().splitlines()
        if message:
            yield f"      {message[0][:_LONGEST_MESSAGE]}"
    if len(tests) > _MOST_TESTS:
        yield "  and more"


async def _end_of_failed_step(client: CiClient, job: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    step = failed_step(job)
    start, end = step_range(job, step) if step is not None else (0, job.get("log_bytes") or 0)
    async for chunk in client.log(job["job_id"], start=max(start, end - _TAIL_BYTES), end=end):
        yield chunk


def step_range(job: dict[str, Any], step: dict[str, Any]) -> tuple[int, int]:
    """Return where the output of a step begins in the log, and where it ends."""
    start = int(step.get("log_offset") or 0)
    later = [int(other.get("log_offset") or 0) for other in job["steps"][job["steps"].index(step) + 1 :]]
    return start, min((offset for offset in later if offset >= start), default=job.get("log_bytes") or start)
