"""An installation whose jobs and files the test makes by hand, and what is restored of its backup."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ci_common.jobs import Attempt, Conclusion, Job, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.run_directory.output import LogTimes
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_controller.backup.restore import Restored, restore_backup
from ci_controller.main import claim_database
from ci_persistence.open import storage_at
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.helpers.jobs import NOON, PLENTY, new_job

PLAN = {"image": "i", "steps": [{"name": "s", "shell": "true"}], "timeout": 60.0}


def quiet(_: str) -> None:
    """Say nothing."""


@dataclass
class Place:
    """An installation of rows and files, without a controller."""

    settings: Settings
    data: DataDirectory
    storage: Storage
    lease: Lease

    async def job(self, state: State, log: bytes | None = b"", *, upload: bytes | None = None, **more: Any) -> Job:
        """Store a job in `state`, with these files."""
        described = {} if upload is None else {"upload": {"sha256": hashlib.sha256(upload).hexdigest()}}
        job = await self.storage.jobs.add(
            new_job(type="container", plan=PLAN, payload=described, has_upload=upload is not None, max_attempts=2),
            max_queued=PLENTY,
        )
        if upload is not None:
            self.data.job(job.id).mkdir()
            self.data.upload(job.id).write_bytes(upload)
        attempts = [log] if state is not State.QUEUED else []
        earlier = more.pop("earlier", None)
        job = await self._start(job, state)
        if earlier is not None:
            ended = Attempt(
                number=1, conclusion=Conclusion.FAILED, end_time=NOON, log_bytes=len(earlier), log_sha256=sha(earlier)
            )
            job = await self.storage.jobs.update(
                job, self.lease, state=State.QUEUED, attempt=2, earlier_attempts=(ended,), start_time=None, runtime=None
            )
            job = await self._start(job, state)
            attempts = [earlier, log]
        for number, content in enumerate(attempts, start=1):
            if content is not None:
                run = self.data.run(job.id, number)
                run.path.mkdir(parents=True)
                run.log.write_bytes(content)
                LogTimes(run.times).append(NOON, len(content))
                if number == job.attempt and state is not State.COMPLETED:
                    (run.path / "workspace").mkdir()
                    (run.path / "gate").touch()
        if state is State.COMPLETED:
            job = await self._complete(job, log or b"", **more)
        return job

    async def _start(self, job: Job, state: State) -> Job:
        if state is State.QUEUED:
            return job
        job = await self.storage.jobs.update(job, self.lease, state=State.STARTING, runtime="docker")
        if state is State.STARTING:
            return job
        return await self.storage.jobs.update(job, self.lease, state=State.RUNNING, start_time=NOON)

    async def _complete(self, job: Job, log: bytes, **more: Any) -> Job:
        changes = {"conclusion": Conclusion.FAILED, "exit_code": 3, "log_bytes": len(log), "log_sha256": sha(log)}
        end = NOON + timedelta(seconds=1)
        return await self.storage.jobs.update(job, self.lease, state=State.COMPLETED, end_time=end, **changes | more)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def settings_in(directory: Path, url: str | None = None) -> Settings:
    if url is None:
        return Settings(db_path=directory / "ci_jobs.db")
    return Settings(database_url=url, data_dir=directory / "ci_jobs.data")


@asynccontextmanager
async def placed(directory: Path, url: str | None = None) -> AsyncIterator[Place]:
    """An installation in a file, or in the database of `url`."""
    settings = settings_in(directory, url)
    data = DataDirectory(settings.data_path)
    data.create()
    storage = storage_at(settings.database)
    await storage.open()
    try:
        lease = await storage.leases.acquire(this_process(), 600)
        assert lease is not None
        await claim_database(storage.installations, lease, data, settings.database)
        yield Place(settings, data, storage, lease)
    finally:
        await storage.close()


@asynccontextmanager
async def restored(
    tmp_path: Path, source: Path, *, keep_queue: bool = False, keep_keys: bool = False, url: str | None = None
) -> AsyncIterator[tuple[Restored, Settings, Storage]]:
    settings = settings_in(tmp_path / "there", url)
    done = await restore_backup(settings, source, quiet, keep_queue=keep_queue, keep_keys=keep_keys)
    storage = storage_at(settings.database)
    await storage.open()
    try:
        yield done, settings, storage
    finally:
        await storage.close()
