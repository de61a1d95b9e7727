"""Follows a job: writes its log to standard output and messages about it to standard error."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any

from ci_cli.connection import Connection
from ci_cli.console import LogOutput
from ci_cli.display.job_display import JobDisplay
from ci_cli.interrupts import Interrupts
from ci_client.errors import ClientError, ServerError
from ci_client.events import log_bytes_of
from ci_client.exits import EX_INTERRUPTED, status_of_job
from ci_client.formatting import span
from ci_common.jobs import Conclusion, ReasonCode
from ci_common.wire.stream import ATTEMPT, COMPLETE, JOB_ID, LOG, STATUS, STEP, Cursor, Event

_SECOND_THOUGHT_SECONDS = 2.0
_BRIEF_REASONS = frozenset({ReasonCode.WAITING_FOR_CONTROLLER, ReasonCode.STARTING})
"""Every job waits for these. They are shown only after `_BRIEF_SECONDS`."""
_BRIEF_SECONDS = 1.0


class JobFollower:
    """Shows one job until it ends, and returns its exit status."""

    def __init__(
        self,
        connection: Connection,
        job_id: str,
        *,
        as_json: bool,
        raw: bool = False,
        verbose: bool = False,
        directory: Path | None = None,
    ) -> None:
        """`directory` is what the job has been made from, for what its steps usually take."""
        self._connection = connection
        self._client = connection.client
        self._job_id = job_id
        self._as_json = as_json
        self._directory = directory
        self._output = LogOutput(raw=raw)
        self._display = JobDisplay(self._output, self._read_log, folds=not (verbose or raw), draws=not as_json)
        self._waits_for = ""
        self._notice: asyncio.TimerHandle | None = None
        self._is_running = False
        self._has_warned = False
        self._warning: asyncio.Task[None] | None = None

    async def follow(self, interrupts: Interrupts, *, from_beginning: bool) -> int:
        """Return the job's exit status, or 130 after Ctrl-C. The job goes on; a second Ctrl-C soon after cancels it."""
        with interrupts.queued() as signals:
            showing = asyncio.create_task(self.show(from_beginning=from_beginning))
            interrupt = asyncio.create_task(signals.get())
            try:
                await asyncio.wait({showing, interrupt}, return_when=asyncio.FIRST_COMPLETED)
                if showing.done():
                    return await showing
                await stopped(showing)
                return await self._interrupted(interrupt.result(), signals)
            finally:
                self._cancel_notice()
                await stopped(showing)
                await stopped(interrupt)

    async def show(self, *, from_beginning: bool) -> int:
        """Show the job until it ends, and return its exit status. Cancelled, it leaves the job alone."""
        drawing = asyncio.create_task(self._display.animate())
        if self._as_json:
            await self._write_json({"type": JOB_ID, "job_id": self._job_id})
        try:
            async with aclosing(self._client.stream(self._job_id, from_beginning=from_beginning)) as events:
                async for event in events:
                    if await self._show_event(event):
                        await stopped(drawing)
                        await self._show_verdict(event)
                        return status_of_job(event)
            raise AssertionError("a stream ends with `complete` or an error")
        finally:
            await stopped(drawing)
            if self._warning is not None:
                await stopped(self._warning)

    def _read_log(self, attempt: int, start: int, end: int) -> AsyncGenerator[bytes, None]:
        return self._client.log(self._job_id, attempt=attempt, start=start, end=end)

    async def _show_event(self, event: Event) -> bool:
        """Show an event, and return whether it is the last one."""
        kind = event["type"]
        if self._as_json and kind != JOB_ID:
            await self._write_json(event)
        elif kind == LOG:
            await self._display.log(log_bytes_of(event), Cursor.parse(event["id"]))
        if kind == STATUS:
            await self._show_status(event)
        elif kind == STEP and event["status"] == "running":
            self._display.begin_step(event["name"])
        elif kind == STEP:
            await self._display.end_step(event)
        elif kind == ATTEMPT:
            self._show_attempt(event)
        elif kind == COMPLETE:
            await self._display.end()
        return kind == COMPLETE

    async def _write_json(self, event: Event) -> None:
        await self._output.write_exactly(json.dumps(event).encode() + b"\n")

    async def _show_status(self, event: Event) -> None:
        reason = (event.get("reason") or {}).get("message", "")
        self._cancel_notice()
        self._display.waits_for(reason if event["status"] == "queued" else "")
        if event["status"] == "queued" and reason:
            if (event.get("reason") or {}).get("code") not in _BRIEF_REASONS:
                self._say_waiting(reason)
            else:
                loop = asyncio.get_running_loop()
                self._notice = loop.call_later(_BRIEF_SECONDS, self._say_waiting, reason)
        elif event["status"] == "running" and not self._is_running:
            self._is_running = True
            if not self._display.folds:
                self.say("running")
            if not self._has_warned and (self._warning is None or self._warning.done()):
                # Apart, since the log need not wait for it.
                self._warning = asyncio.create_task(self._warn())

    async def _warn(self) -> None:
        job = await self._job()
        if job.get("runtime") == "process":
            self.say("jobs are not isolated: they run as processes on this machine")
        self._has_warned = bool(job)
        if self._display.draws:
            from ci_cli.display.usual import usual_of_directory, usual_of_project

            if job.get("project"):
                self._display.usual = await usual_of_project(self._client, job["project"])
            elif self._directory is not None:
                self._display.usual = usual_of_directory(self._directory)

    async def _job(self) -> dict[str, Any]:
        """Return the job, or nothing if the server is just away: the stream reconnects by itself."""
        try:
            return await self._client.get_job(self._job_id)
        except ClientError:
            return {}

    def _say_waiting(self, reason: str) -> None:
        if reason != self._waits_for:
            self._waits_for = reason
            self.say(f"waiting: {reason}")

    def _cancel_notice(self) -> None:
        if self._notice is not None:
            self._notice.cancel()

    def _show_attempt(self, event: Event) -> None:
        """Say how the previous attempt ended. The status says what the job waits for now."""
        previous = event["previous"]
        self._display.begin_attempt(event["attempt"])
        code = "" if previous.get("exit_code") is None else f" with exit code {previous['exit_code']}"
        what = f"attempt {previous['attempt']} of {event['max_attempts']} {previous['conclusion']}{code}"
        reason = (previous.get("reason") or {}).get("message", "")
        why = f" ({reason})" if reason and previous["conclusion"] != Conclusion.FAILED else ""
        self.say(f"{what}{why}; attempt {event['attempt']} follows")
        self._is_running = False

    async def _show_verdict(self, event: Event) -> None:
        if self._warning is not None:
            await self._warning
        job = await self._job()
        parts = [f"exit code {event['exit_code']}"] if event.get("exit_code") is not None else []
        if (job.get("max_attempts") or 1) > 1:
            parts.append(f"attempt {job['attempt']} of {job['max_attempts']}")
        if (duration := _duration(job)) is not None:
            parts.append(f"after {span(duration)}")
        reason = event.get("reason") or {}
        first, *more = reason.get("message", "").splitlines() or [""]
        service_failed = reason.get("code") == ReasonCode.SERVICE_FAILED
        if first and (service_failed or event["conclusion"] not in (Conclusion.SUCCEEDED, Conclusion.FAILED)):
            parts.append(first)
        else:
            more = []
        if event["conclusion"] == Conclusion.FAILED and not self._as_json:
            await self._tell_failure(job)
        elif event["conclusion"] == Conclusion.SUCCEEDED and self._directory is not None and self._display.draws:
            from ci_cli.display.usual import note

            note(self._directory, job)
        verdict = f"{event['conclusion']}: {', '.join(parts)}" if parts else event["conclusion"]
        self.say(f"job {self._job_id} {verdict}", problem=event["conclusion"] != Conclusion.SUCCEEDED)
        for line in more:
            self.say(f"  {line}")
        self._say_what_next(event, job)

    def _say_what_next(self, event: Event, job: dict[str, Any]) -> None:
        if event.get("log_bytes") != 0:
            self.say(f"its log again: {self._connection.advice('logs', self._job_id)}")
        self.say(f"more about it: {self._connection.advice('status', self._job_id)}")
        if event["conclusion"] != Conclusion.SUCCEEDED:
            self.say(f"run it again: {self._connection.advice('retry', self._job_id)}")
        if (hint := self._what_failed_again(job)) is not None:
            self.say(f"run what failed again, on the files as they are then: {hint}")

    def _what_failed_again(self, job: dict[str, Any]) -> str | None:
        """Return the command that runs the failed tests of a directory again; None if it has none."""
        tests = job.get("tests") or {}
        if self._directory is None or not tests.get("failed", 0) + tests.get("errors", 0):
            return None
        here = self._directory.resolve() == Path.cwd()
        return self._connection.command(
            "run", *([] if here else [quote(str(self._directory))]), "--only-failed", self._job_id
        )

    async def _tell_failure(self, job: dict[str, Any]) -> None:
        from ci_cli.display.failure import failure_lines

        for line in await failure_lines(self._client, job) if job else []:
            self.say(line)

    async def _interrupted(self, number: int, signals: "asyncio.Queue[int]") -> int:
        back = self._connection.advice("wait", self._job_id, "--all")
        if self._connection.embedded and not self._is_running:
            self.say(f"detached; the job waits until another command runs it, such as: {back}")
        else:
            self.say(f"detached; the job goes on. Come back to it with: {back}")
        if number == signal.SIGTERM:
            return EX_INTERRUPTED
        self.say(f"Ctrl-C again within {_SECOND_THOUGHT_SECONDS:.0f} s cancels the job")
        try:
            async with asyncio.timeout(_SECOND_THOUGHT_SECONDS):
                number = await signals.get()
        except TimeoutError:
            return EX_INTERRUPTED
        if number == signal.SIGINT:
            await self._cancel(signals)
        return EX_INTERRUPTED

    async def _cancel(self, signals: "asyncio.Queue[int]") -> None:
        cancelling = asyncio.create_task(self._cancel_and_wait())
        impatience = asyncio.create_task(signals.get())
        try:
            await asyncio.wait({cancelling, impatience}, return_when=asyncio.FIRST_COMPLETED)
            if cancelling.done():
                await cancelling
        finally:
            await stopped(cancelling)
            await stopped(impatience)

    async def _cancel_and_wait(self) -> None:
        try:
            await self._client.cancel_job(self._job_id)
        except ServerError as exc:
            self.say(str(exc))
            return
        self.say(f"cancelling job {self._job_id}")
        if self._connection.embedded:  # No other controller would stop it.
            await wait_for_end(self._connection, self._job_id)

    def say(self, message: str, *, problem: bool = False) -> None:
        """Say something about the job, on a line of its own."""
        self._display.say(message, problem=problem)


async def wait_for_end(connection: Connection, job_id: str) -> Event:
    """Return a job's `complete` event once the job has ended, without showing anything."""
    async with aclosing(connection.client.stream(job_id, from_beginning=False)) as events:
        async for event in events:
            if event["type"] == COMPLETE:
                return event
    raise AssertionError("a stream ends with `complete` or an error")


async def stopped(task: "asyncio.Task[Any]") -> None:
    """Cancel a task, wait for it, and ignore its outcome."""
    task.cancel()
    await asyncio.wait({task})
    with suppress(asyncio.CancelledError):
        task.exception()


def _duration(job: dict[str, Any]) -> float | None:
    start, end = job.get("start_time"), job.get("end_time")
    if not start or not end:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
