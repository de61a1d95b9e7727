"""The jobs that inputs led to: each is shown at once, and each completes."""

import json
import time
from collections.abc import Callable
from typing import Any

from tests.fuzz.checks import Fault
from tests.fuzz.message import Message
from tests.fuzz.server import WatchedServer
from tests.helpers.waiting import PATIENCE

_PROGRESS_SECONDS = 2.0
"""How long nothing may complete before jobs that are meant to take long are cancelled."""
_STUCK_SECONDS = PATIENCE
_PENDING = 32
"""How many jobs may be under way while more inputs are sent."""

Report = Callable[[Message, int, Fault], None]


class Jobs:
    """The jobs of one campaign that have not completed yet, with the inputs that they came from."""

    def __init__(self, server: WatchedServer, report: Report) -> None:
        self._server = server
        self._report = report
        self._pending: dict[str, tuple[Message, int]] = {}
        self.completed = 0

    def shown(self, job_id: str) -> Fault | None:
        """Return what is wrong with how a new job is shown. Such a job is deleted, since it spoils every list."""
        for target in (f"/jobs/{job_id}", "/jobs?limit=1"):
            answer = self._server.get(target)
            if answer.status != 200 or answer.document() is None:
                log = self._server.complaints()
                self._server.ask(Message("DELETE", f"/jobs/{job_id}"))
                return Fault(f"GET {target.replace(job_id, 'ID')} of a new job: {answer.status}", log[-2000:])
        return None

    def add(self, job_id: str, message: Message, number: int) -> None:
        self._pending[job_id] = message, number
        if len(self._pending) >= _PENDING:
            self.settle(_PENDING // 4)

    def forget(self) -> None:
        """Drop all jobs, as they went with their server."""
        self._pending.clear()

    def settle(self, most: int = 0) -> None:
        """Return once at most so many are under way. Those that do not complete are reported."""
        moved = time.monotonic()
        while len(active := self._active()) > most:
            still = time.monotonic() - moved
            if self._take_completed(active):
                moved = time.monotonic()
            elif still > _STUCK_SECONDS:
                self._give_up(active)
                return
            elif still > _PROGRESS_SECONDS:
                self._cancel_long_ones(active)
            time.sleep(0.05)
        self._take_completed(active)

    def _active(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for status in ("queued", "running"):
            answer = self._server.get(f"/jobs?limit=100&status={status}")
            found |= {job["job_id"]: job for job in answer.document() or () if job["job_id"] in self._pending}
        return found

    def _take_completed(self, active: dict[str, Any]) -> int:
        ended = 0
        for job_id in [job_id for job_id in self._pending if job_id not in active]:
            job = self._server.get(f"/jobs/{job_id}").document() or {}
            if job.get("status") in ("queued", "running"):
                continue  # It was in neither list, as it went from one to the other between them.
            ended += 1
            message, number = self._pending.pop(job_id)
            reason = (job.get("reason") or {}).get("code")
            if job.get("status") != "completed" or reason == "internal_error":
                self._report(message, number, Fault(f"a job that ended with {reason}", json.dumps(job)[:2000]))
        self.completed += ended
        return ended

    def _cancel_long_ones(self, active: dict[str, dict[str, Any]]) -> None:
        for job_id, job in active.items():
            reason = (job["reason"] or {}).get("code")
            if job["cancel_requested_time"] is None and (job["status"] == "running" or reason == "backing_off"):
                self._server.ask(Message("POST", f"/jobs/{job_id}/cancel"))

    def _give_up(self, active: dict[str, dict[str, Any]]) -> None:
        for job_id, job in active.items():
            reason = (job["reason"] or {}).get("code")
            message, number = self._pending.pop(job_id)
            if reason != "waiting_for_slot":
                fault = Fault(f"a job that stays {job['status']}: {reason}", self._server.complaints()[-3000:])
                self._report(message, number, fault)
            self._server.ask(Message("POST", f"/jobs/{job_id}/cancel"))
