"""`ci run --agent` and `ci wait --agent`: a job in a few short lines, or as events, in less than 4 KiB."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from ci_cli.agents.explaining import explain, standing, usual_seconds, verdict
from ci_cli.agents.limits import clipped
from ci_cli.agents.watching import Watch
from ci_cli.connection import Connection
from ci_cli.console import say, show, show_raw
from ci_client.errors import EX_SOFTWARE, ClientError
from ci_client.escapes import visible_json
from ci_client.exits import EX_BUDGET, EX_ERRORED, EX_INTERRUPTED, EX_TIMED_OUT
from ci_common.jobs import Conclusion

_HEARTBEAT_SECONDS = 20.0
_SUMMARY_BYTES = 3200
"""Of the summary. The rest of the 4 KiB is for heartbeats and the commands."""
_MOST_HEARTBEATS = 12
"""After these, each pause is twice the one before, so that a long job stays within the limit."""
_STATUSES: dict[str, int] = {
    Conclusion.SUCCEEDED: 0,
    Conclusion.FAILED: 1,
    Conclusion.ERRORED: EX_ERRORED,
    Conclusion.TIMED_OUT: EX_TIMED_OUT,
    Conclusion.CANCELLED: EX_INTERRUPTED,
}


@dataclass(frozen=True, slots=True)
class AgentForm:
    """How the form for agents is wanted."""

    budget: float | None
    """Seconds after which the command ends, although the job has not."""
    fail_fast: bool
    as_json: bool
    heartbeat: float = _HEARTBEAT_SECONDS
    """Seconds between two heartbeats."""


class AgentFollower:
    """Shows one job to an agent, and returns the exit status of this form."""

    def __init__(self, connection: Connection, job_id: str, form: AgentForm) -> None:
        self._connection = connection
        self._client = connection.client
        self._job_id = job_id
        self._form = form
        self._usual: float | None = None
        self._knows_usual = False
        self._heartbeats = 0
        self._skip = 0

    async def follow(self) -> int:
        """Say the job's id, and follow it to its end, or until the budget is used up. Raises ClientError."""
        self._write({"schema": 1, "type": "begin", "job_id": self._job_id}, f"job {self._job_id}")
        try:
            return await self._follow()
        except asyncio.CancelledError:
            say(f"interrupted; the job goes on. Come back to it with: {self._again()}")
            raise

    def _again(self) -> str:
        return f"{self._connection.advice('wait', self._job_id)} --agent"

    async def _follow(self) -> int:
        watch = Watch(self._client, self._job_id, for_failure=self._form.fail_fast)
        await watch.wait(self._form.budget, self._form.heartbeat, self._beat)
        if watch.has_ended:
            return await self._summarise()
        again = self._again()
        if watch.failure:
            return self._leave("failing", watch.failure, [again, self._connection.advice("cancel", self._job_id)], 1)
        if self._form.budget is not None:
            again += f" --budget {self._form.budget:g}s"
        job = await self._client.get_job(self._job_id)
        return self._leave("still_running", standing(job, self._usual), [again], EX_BUDGET)

    async def _beat(self) -> None:
        if self._skip:
            self._skip -= 1
            return
        self._heartbeats += 1
        self._skip = 2 ** min(max(0, self._heartbeats - _MOST_HEARTBEATS), 10) - 1
        try:
            job = await self._client.get_job(self._job_id)
        except ClientError:
            return  # The stream resumes, or says why not.
        if not self._knows_usual:
            self._usual, self._knows_usual = await usual_seconds(self._client, job), True
        text = clipped(standing(job, self._usual), 160)
        self._write({"type": "heartbeat", "status": job["status"], "text": text}, text)

    async def _summarise(self) -> int:
        job = await self._client.get_job(self._job_id)
        explanation = await explain(self._client, job)
        if job["conclusion"] == Conclusion.SUCCEEDED:
            commands = []
        else:
            more = self._connection.advice("tests", self._job_id, "--failed")
            if not explanation.failed:
                more = self._connection.advice("status", self._job_id)
            commands = [more, self._connection.advice("logs", self._job_id)]
        event = {
            "type": "verdict",
            "job_id": self._job_id,
            "conclusion": job["conclusion"],
            "exit_code": job.get("exit_code"),
            "text": verdict(job),
            "failed": explanation.failed,
            "tests": explanation.tests,
            "lines": [{"number": line.number, "text": line.text} for line in explanation.lines],
            "next": commands,
        }
        self._write(_shortened(event), "\n".join([*explanation.text(_SUMMARY_BYTES), *_next(commands)]))
        return _STATUSES.get(job["conclusion"], EX_SOFTWARE)

    def _leave(self, kind: str, text: str, commands: list[str], status: int) -> int:
        heads = {"failing": "a test has failed, and the job goes on", "still_running": "still running"}
        short = clipped(text, 500)
        event = {"type": kind, "job_id": self._job_id, "text": short, "next": commands}
        self._write(event, "\n".join([f"{heads[kind]}: {short}", *_next(commands)]))
        return status

    def _write(self, event: dict[str, Any], text: str) -> None:
        if self._form.as_json:
            show_raw(visible_json(json.dumps(event, ensure_ascii=False)) + "\n")
        else:
            show(text)


def _next(commands: list[str]) -> list[str]:
    return [f"next: {command}" for command in commands]


def _shortened(event: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict without as many of its lines and tests as make it too large."""
    for part in ("lines", "tests"):
        while event[part] and len(json.dumps(event, ensure_ascii=False).encode()) > _SUMMARY_BYTES:
            event[part].pop(0 if part == "lines" else -1)
    return event
