"""Follows a job: writes its log to standard output and messages about it to standard error."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any

from ci_cli.connection import Connection
from ci_cli.console import LogOutput, say
from ci_cli.interrupts import Interrupts
from ci_cli.tables import step_title
from ci_client.errors import ClientError, ServerError
from ci_client.events import log_bytes_of
from ci_client.exits import EX_INTERRUPTED, status_of_job
from ci_client.formatting import span
from ci_common.jobs import Conclusion, ReasonCode
from ci_common.stream import ATTEMPT, COMPLETE, JOB_ID, LOG, STATUS, STEP, Event

_SECOND_THOUGHT_SECONDS = 2.0
_BRIEF_REASONS = frozenset({ReasonCode.WAITING_FOR_CONTROLLER, ReasonCode.STARTING})
"""Every job waits for these. They are shown only after `_BRIEF_SECONDS`."""
_BRIEF_SECONDS = 1.0


class JobFollower:
    """Shows one job until it ends, and returns its exit status."""

    def __init__(self, connection: Connection, job_id: str, *, as_json: bool, raw: bool = False) -> None:
        self._connection = connection
        self._client = connection.client
        self._job_id = job_id
        self._as_json = as_json
        self._output = LogOutput(raw=raw)
        self._waits_for = ""
        self._notice: asyncio.TimerHandle | None = None
        self._is_running = False
        self._has_warned = False

    async def follow(self, interrupts: Interrupts, *, from_beginning: bool) -> int:
        """Return the job's exit status, or 130 after Ctrl-C. The job goes on; a second Ctrl-C soon after cancels it."""
        with interrupts.queued() as signals:
            showing = asyncio.create_task(self._show_all(from_beginning=from_beginning))
            interrupt = asyncio.create_task(signals.get())
            try:
                await asyncio.wait({showing, interrupt}, return_when=asyncio.FIRST_COMPLETED)
                if showing.done():
                    return await showing
                await _stopped(showing)
                return await self._interrupted(interrupt.result(), signals)
            finally:
                self._cancel_notice()
                await _stopped(showing)
                await _stopped(interrupt)

    async def _show_all(self, *, from_beginning: bool) -> int:
        async with aclosing(self._client.stream(self._job_id, from_beginning=from_beginning)) as events:
            return await self._show_each(events)

    async def _show_each(self, events: AsyncGenerator[Event, None]) -> int:
        if self._as_json:
            await self._write_json({"type": JOB_ID, "job_id": self._job_id})
        async for event in events:
            kind = event["type"]
            if self._as_json and kind != JOB_ID:
                await self._write_json(event)
            elif kind == LOG:
                await self._output.write(log_bytes_of(event))
            if kind == STATUS:
                await self._show_status(event)
            elif kind == STEP:
                self._show_step(event)
            elif kind == ATTEMPT:
                self._show_attempt(event)
            elif kind == COMPLETE:
                await self._output.end()
                await self._show_verdict(event)
                return status_of_job(event)
        raise AssertionError("a stream ends with `complete` or an error")

    async def _write_json(self, event: Event) -> None:
        await self._output.write_exactly(json.dumps(event).encode() + b"\n")

    async def _show_status(self, event: Event) -> None:
        reason = (event.get("reason") or {}).get("message", "")
        self._cancel_notice()
        if event["status"] == "queued" and reason:
            if (event.get("reason") or {}).get("code") not in _BRIEF_REASONS:
                self._say_waiting(reason)
            else:
                loop = asyncio.get_running_loop()
                self._notice = loop.call_later(_BRIEF_SECONDS, self._say_waiting, reason)
        elif event["status"] == "running" and not self._is_running:
            self._is_running = True
            self._say("running")
            await self._warn_once()

    async def _warn_once(self) -> None:
        if self._has_warned:
            return
        job = await self._job()
        if job.get("runtime") == "process":
            self._say("jobs are not isolated: they run as processes on this machine")
        self._has_warned = bool(job)

    async def _job(self) -> dict[str, Any]:
        """Return the job, or nothing if the server is just away: the stream reconnects by itself."""
        try:
            return await self._client.get_job(self._job_id)
        except ClientError:
            return {}

    def _say_waiting(self, reason: str) -> None:
        if reason != self._waits_for:
            self._waits_for = reason
            self._say(f"waiting: {reason}")

    def _cancel_notice(self) -> None:
        if self._notice is not None:
            self._notice.cancel()

    def _show_step(self, event: Event) -> None:
        if event["status"] == "running":
            self._say(step_title(event["name"]))
        elif event["status"] == "failed":
            self._say(f"{step_title(event['name'])} failed with exit code {event.get('exit_code')}")

    def _show_attempt(self, event: Event) -> None:
        """Say how the previous attempt ended. The status says what the job waits for now."""
        previous = event["previous"]
        code = "" if previous.get("exit_code") is None else f" with exit code {previous['exit_code']}"
        what = f"attempt {previous['attempt']} of {event['max_attempts']} {previous['conclusion']}{code}"
        reason = (previous.get("reason") or {}).get("message", "")
        why = f" ({reason})" if reason and previous["conclusion"] != Conclusion.FAILED else ""
        self._say(f"{what}{why}; attempt {event['attempt']} follows")
        self._is_running = False

    async def _show_verdict(self, event: Event) -> None:
        job = await self._job()
        parts = [f"exit code {event['exit_code']}"] if event.get("exit_code") is not None else []
        if (job.get("max_attempts") or 1) > 1:
            parts.append(f"attempt {job['attempt']} of {job['max_attempts']}")
        if (duration := _duration(job)) is not None:
            parts.append(f"after {span(duration)}")
        reason = (event.get("reason") or {}).get("message", "")
        if reason and event["conclusion"] not in (Conclusion.SUCCEEDED, Conclusion.FAILED):
            parts.append(reason)
        verdict = f"{event['conclusion']}: {', '.join(parts)}" if parts else event["conclusion"]
        self._say(f"job {self._job_id} {verdict}")
        if event.get("log_bytes") != 0:
            self._say(f"its log again: {self._connection.advice('logs', self._job_id)}")
        self._say(f"more about it: {self._connection.advice('status', self._job_id)}")

    async def _interrupted(self, number: int, signals: "asyncio.Queue[int]") -> int:
        back = self._connection.advice("wait", self._job_id, "--all")
        if self._connection.embedded and not self._is_running:
            self._say(f"detached; the job waits until another command runs it, such as: {back}")
        else:
            self._say(f"detached; the job goes on. Come back to it with: {back}")
        if number == signal.SIGTERM:
            return EX_INTERRUPTED
        self._say(f"Ctrl-C again within {_SECOND_THOUGHT_SECONDS:.0f} s cancels the job")
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
            await _stopped(cancelling)
            await _stopped(impatience)

    async def _cancel_and_wait(self) -> None:
        try:
            await self._client.cancel_job(self._job_id)
        except ServerError as exc:
            self._say(str(exc))
            return
        self._say(f"cancelling job {self._job_id}")
        if self._connection.embedded:  # No other controller would stop it.
            await wait_for_end(self._connection, self._job_id)

    def _say(self, message: str) -> None:
        self._output.finish_line()
        say(message)


async def wait_for_end(connection: Connection, job_id: str) -> Event:
    """Return a job's `complete` event once the job has ended, without showing anything."""
    async with aclosing(connection.client.stream(job_id, from_beginning=False)) as events:
        async for event in events:
            if event["type"] == COMPLETE:
                return event
    raise AssertionError("a stream ends with `complete` or an error")


async def _stopped(task: "asyncio.Task[Any]") -> None:
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
