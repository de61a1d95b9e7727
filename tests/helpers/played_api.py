"""A running server, and the controller played by hand."""

import asyncio
import io
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from ci_common.attempts.parts import StepResult
from ci_common.jobs import Attempt, Conclusion, Job, Reason, ReasonCode, State
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_common.times import utc_now
from ci_persistence.database import Session
from ci_persistence.dialects import Statement
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease


def zipped(**files: str | bytes) -> bytes:
    """Return a zip archive; `__` in a name stands for a dot."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


class PlayedController:
    """Does by hand what a controller does: moves rows on and writes logs."""

    def __init__(self, storage: Storage, data: DataDirectory) -> None:
        self.storage = storage
        self.data = data
        self._lease: Lease | None = None
        self._attempts: dict[str, int] = {}
        """Of each job that has come beyond its first."""

    def _run(self, job_id: str) -> RunDirectory:
        return self.data.run(job_id, self._attempts.get(job_id, 1))

    def run_of(self, job_id: str) -> RunDirectory:
        run = self._run(job_id)
        run.path.mkdir(parents=True, exist_ok=True)
        return run

    async def update(self, job_id: str, **changes: Any) -> Job:
        if self._lease is None:
            self._lease = await self.storage.leases.acquire(this_process(), 3600)
            assert self._lease is not None
        return await self.storage.jobs.update(await self.storage.jobs.get(job_id), self._lease, **changes)

    @property
    def lease(self) -> Lease:
        """What it leads by, once it has changed something."""
        assert self._lease is not None
        return self._lease

    async def forget_stored_logs(self) -> None:
        """Have the database not know of any log in the artifact store."""

        async def operation(session: Session) -> None:
            await session.execute(Statement("DELETE FROM stored_logs"), {})

        await self.storage.database.write(operation)

    async def start(self, job_id: str) -> RunDirectory:
        run = self.run_of(job_id)
        run.log.touch()
        (run.path / "started").write_text("100.0")
        await self.update(job_id, state=State.STARTING, reason=Reason(ReasonCode.STARTING, "starting"))
        await self.update(job_id, state=State.RUNNING, reason=None, start_time=utc_now(), runtime="process")
        return run

    def write(self, job_id: str, data: bytes) -> None:
        with self._run(job_id).log.open("ab") as log:
            log.write(data)

    async def begin_anew(self, job_id: str, exit_code: int, steps: tuple[StepResult, ...] = ()) -> Job:
        """End the present attempt, and let the job wait for its next."""
        job = await self.storage.jobs.get(job_id)
        log = self._run(job_id).log.read_bytes()
        ended = Attempt(
            number=job.attempt,
            conclusion=Conclusion.FAILED,
            end_time=utc_now(),
            reason=Reason(ReasonCode.EXIT_CODE, f"exit code {exit_code}"),
            exit_code=exit_code,
            start_time=job.start_time,
            runtime=job.runtime,
            steps=steps,
            log_bytes=len(log),
            log_sha256=sha256(log).hexdigest(),
        )
        self._attempts[job_id] = job.attempt + 1
        return await self.update(
            job_id,
            state=State.QUEUED,
            attempt=job.attempt + 1,
            earlier_attempts=(*job.earlier_attempts, ended),
            reason=Reason(ReasonCode.BACKING_OFF, "soon"),
            not_before=utc_now(),
            start_time=None,
            runtime=None,
        )

    async def finish(self, job_id: str, exit_code: int = 0, **changes: Any) -> Job:
        log = self._run(job_id).log.read_bytes()
        changes = {
            "state": State.COMPLETED,
            "conclusion": Conclusion.FAILED if exit_code else Conclusion.SUCCEEDED,
            "exit_code": exit_code,
            "end_time": utc_now(),
            "log_bytes": len(log),
            "log_sha256": sha256(log).hexdigest(),
        } | changes
        return await self.update(job_id, **changes)

    async def cancel(self, job_id: str) -> Job:
        changes = {"conclusion": Conclusion.CANCELLED, "reason": Reason(ReasonCode.CANCELLED, "cancelled")}
        return await self.update(job_id, state=State.COMPLETED, end_time=utc_now(), **changes)


@dataclass
class Api:
    """A running server."""

    url: str
    client: httpx.AsyncClient
    settings: Settings
    data: DataDirectory
    controller: PlayedController
    serving: asyncio.Task[None]

    async def submit(self, command: str = "true", **fields: Any) -> str:
        answer = await self.client.post("/jobs", json={"image": "busybox", "command": command, **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    async def upload(self, content: bytes, path: str = "/submit-async", **more: Any) -> httpx.Response:
        return await self.client.post(path, files={"file": ("project.zip", content, "application/zip")}, **more)

    def left_over(self) -> list[Path]:
        """Return what submissions have in the data directory: those under way, and what was stored."""
        return [*self.data.incoming.iterdir(), *self.data.jobs.iterdir()]


StartApi = Callable[..., Awaitable[Api]]
"""Starts a server; takes a name for its database and settings."""
