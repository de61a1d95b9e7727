"""Logs that move to the artifact store: which ones do, and what is left where something fails."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_common.artifacts.directory import DirectoryStore
from ci_common.artifacts.logs import log_key
from ci_common.artifacts.store import Kept, Source, StoreUnavailable
from ci_common.jobs import Conclusion, Job, State
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.run_directory.output import LogTimes
from ci_common.run_directory.stored import read_mark
from ci_common.system.processes import this_process
from ci_controller.artifacts.ended_logs import EndedLogs, LogDiffers
from ci_controller.execution.files import collect_files, note_end_of_log
from ci_controller.gc.logs import LogsLeftHere, LogsOfEnded
from ci_controller.runtime.protocol import WorkloadKey
from ci_persistence.open import sqlite_storage
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.artifact_store.suite import read
from tests.helpers.jobs import NOON, PLENTY, new_job

LOG = b"one\ntwo\n"


class Faulty(DirectoryStore):
    """A store that can be away, and can give back something else. It compresses nothing that short."""

    away = False
    spoils = False

    async def keep(self, sources: Sequence[Source], check: Callable[[], None]) -> list[Kept | Exception]:
        if self.away:
            return [StoreUnavailable("away") for _ in sources]
        kept = await super().keep(sources, check)
        if self.spoils:
            for path in self._path.rglob("text"):
                path.write_bytes(b"x" * len(path.read_bytes()))
        return kept


class World:
    def __init__(self, storage: Storage, lease: Lease, data: DataDirectory) -> None:
        self.storage = storage
        self.data = data
        self.lease = lease
        self.store = Faulty(data.artifacts)
        self.logs = EndedLogs(data, self.store, storage.logs, lease, lambda: None)

    async def ended(self, log: bytes = LOG) -> tuple[Job, RunDirectory]:
        """Return a job that has ended with LOG, whose run directory has been cleared and has `log`."""
        job = await self.storage.jobs.add(new_job(), max_queued=PLENTY)
        for state in (State.STARTING, State.RUNNING):
            job = await self.storage.jobs.update(job, self.lease, state=state, runtime="process")
        digest = hashlib.sha256(LOG).hexdigest()
        end = {"conclusion": Conclusion.SUCCEEDED, "end_time": NOON, "log_bytes": len(LOG), "log_sha256": digest}
        job = await self.storage.jobs.update(job, self.lease, state=State.COMPLETED, **end)
        run = self.data.run_of(job)
        run.path.mkdir(parents=True)
        run.log.write_bytes(log)
        run.record.write_text("{}")
        LogTimes(run.times).append(NOON, len(LOG))
        return job, run

    async def kept(self, job: Job) -> bytes:
        return await read(self.store, log_key(job.id, 1), len(LOG))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    storage = sqlite_storage(tmp_path / "jobs.db")
    await storage.open()
    lease = await storage.leases.acquire(this_process(), 3600)
    assert lease is not None
    data = DataDirectory(tmp_path / "data")
    data.create()
    yield World(storage, lease, data)
    await storage.close()


async def test_a_log_moves_once_and_only_its_own_bytes(world: World) -> None:
    job, run = await world.ended(LOG + b"what came after the end")
    for _ in range(2):
        await world.logs.move(job)
    assert await world.kept(job) == LOG
    assert {path.name for path in run.path.parent.iterdir()} == {"1", "1.stored"}
    assert run.is_spent()
    mark = read_mark(run.stored)
    assert mark is not None
    assert (mark.bytes, mark.sha256) == (len(LOG), job.log_sha256)


async def test_it_stays_until_the_attempt_is_cleared(world: World) -> None:
    job, run = await world.ended()
    run.gate.touch()
    await world.logs.move(job)
    run.gate.unlink()
    run.record.unlink()
    await world.logs.move(job)
    assert run.log.read_bytes() == LOG
    await world.logs.move(replace(job, state=State.RUNNING))
    await world.logs.move(replace(job, log_bytes=0))
    assert await world.storage.logs.find(job.id, 1) is None


@pytest.mark.parametrize("log", [LOG[:-1], LOG.upper(), b""])
async def test_a_log_that_is_not_the_one_of_the_end_stays(world: World, log: bytes) -> None:
    job, run = await world.ended(log)
    with pytest.raises(LogDiffers):
        await world.logs.move(job)
    assert run.log.read_bytes() == log
    assert await world.storage.logs.find(job.id, 1) is None
    assert not run.stored.exists()


async def test_what_the_store_gives_back_is_compared(world: World) -> None:
    job, run = await world.ended()
    world.store.spoils = True
    with pytest.raises(LogDiffers, match="gives back other bytes"):
        await world.logs.move(job)
    assert run.log.read_bytes() == LOG
    world.store.spoils = False
    await world.logs.move(job)
    assert await world.kept(job) == LOG


async def test_the_job_may_be_deleted_while_its_log_is_sent(world: World) -> None:
    job, _ = await world.ended()
    await world.storage.retention.delete([job.id])
    await world.logs.move(job)
    assert not [path for path in world.data.artifacts.rglob("*") if path.is_file()]


async def test_what_was_noted_waits_for_the_store(world: World) -> None:
    jobs = [await world.ended() for _ in range(3)]
    collector = LogsOfEnded(world.storage.jobs, world.logs)
    for job, _ in jobs:
        assert collector.note(WorkloadKey.of(job))
    world.store.away = True
    with pytest.raises(StoreUnavailable):
        await rounds(collector)
    assert len(collector.noted) == 3
    world.store.away = False
    await rounds(collector)
    assert not collector.noted
    assert not any(run.log.exists() for _, run in jobs)


async def test_what_was_left_here_is_found(world: World) -> None:
    (moved, first), (half, second), (_, busy), (odd, _) = [await world.ended() for _ in range(4)]
    busy.gate.touch()
    await world.logs.move(half)
    LogTimes(second.times).append(NOON, 1)
    world.data.run_of(odd).log.write_bytes(b"other")
    failed = await rounds(LogsLeftHere(world.data, world.storage.jobs, world.logs))
    assert [*failed] == [WorkloadKey.of(odd)]
    assert await world.kept(moved) == LOG
    assert not first.log.exists()
    assert not second.times.exists()
    assert busy.log.exists()


async def test_a_row_that_is_older_than_the_move_gets_the_log_of_the_mark(world: World) -> None:
    job, run = await world.ended()
    await world.logs.move(job)
    left, _ = await collect_files(replace(job, state=State.RUNNING), world.data)
    assert (left.log_bytes, left.log_sha256) == (job.log_bytes, job.log_sha256)
    note_end_of_log(job, world.data)
    assert not run.times.exists(), "nothing of it comes back"


async def rounds(collector: Any) -> dict[Any, Exception]:
    """Do one round; return what failed."""
    failed: dict[Any, Exception] = {}
    async for batch in collector.find():
        failed |= await collector.remove(batch)
    return failed
