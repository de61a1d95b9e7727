"""A deleted job goes with all that belongs to it, whichever process dies in between; nothing else goes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from ci_common.errors import JobNotFound
from ci_common.jobs import Job
from ci_common.run_directory.layout import KEPT
from ci_common.runtime_faults import RuntimeUnavailable
from ci_controller.main import Parts
from ci_controller.runtime.protocol import ListedWorkload
from ci_persistence.storage import Storage
from tests.helpers.databases import ON_BOTH
from tests.helpers.installation import Installation, completed
from tests.helpers.waiting import eventually

pytestmark = ON_BOTH
POINTS = [
    "list_workloads/2/after",
    *(f"{call}/1/{t}" for call in ("delete_tree", "forget_removals") for t in ("before", "after")),
]


async def finished(installation: Installation, *shell: str) -> Job:
    """Return a job that has completed and is cleared, with an upload beside its log."""
    job = await installation.submit(*(shell or ("echo hello",)))
    async with installation.storage() as storage, installation.controller() as parts:
        ended = await completed(storage, job.id)
        await eventually(lambda: installation.files_left(ended) <= KEPT, "nothing but its log and its records is left")
        await eventually(nothing_listed(parts, installation), "no workload is left")
    installation.data.upload(job.id).write_bytes(b"PK")
    return ended


def nothing_listed(parts: Parts, installation: Installation) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return await parts.runtimes[installation.runtime].list_workloads() == []

    return look


async def all_gone(installation: Installation, storage: Storage, job: Job) -> None:
    async def nothing_pending() -> bool:
        return await storage.retention.count_removals() == 0

    await eventually(nothing_pending, "the removal is done")
    assert not installation.data.job(job.id).exists()
    with pytest.raises(JobNotFound):
        await storage.jobs.get(job.id)


async def test_goes_at_once_and_whole(installation: Installation) -> None:
    job, other = await finished(installation), await finished(installation)
    async with installation.storage() as storage, installation.controller():
        await storage.retention.delete([job.id])
        await all_gone(installation, storage, job)
        assert installation.log_of(other) == b"hello\n"
        assert installation.data.upload(other.id).exists()


@pytest.mark.parametrize("point", POINTS)
async def test_survives_its_controller(installation: Installation, point: str) -> None:
    job = await finished(installation)
    async with installation.storage() as storage:
        await storage.retention.delete([job.id])
        crashed = installation.start_crashing_controller(point)
        assert await asyncio.to_thread(crashed.wait, 60) == -9, "the controller dies at this point"
        async with installation.controller():
            await all_gone(installation, storage, job)


@pytest.mark.parametrize("point", ["update/3/after", "clear/1/after", "delete_tree/1/after", "remove/1/before"])
async def test_goes_with_its_workload_and_workspace(installation: Installation, point: str) -> None:
    """The job was deleted when it had just completed, and its controller died before it had cleared it."""
    job = await installation.submit("mkdir -p d; echo x >d/f; echo hello")
    async with installation.storage() as storage:
        crashed = installation.start_crashing_controller(point)
        assert await asyncio.to_thread(crashed.wait, 60) == -9
        assert await storage.retention.delete([job.id]) == [job.id]
        async with installation.controller() as parts:
            await all_gone(installation, storage, job)
            assert await nothing_listed(parts, installation)()


@pytest.mark.parametrize("point", ["remove/1/before", "remove/1/after", "delete_tree/1/before"])
async def test_the_removal_of_a_workload_survives_its_controller(installation: Installation, point: str) -> None:
    job = await installation.submit("echo hello")
    async with installation.storage() as storage:
        assert await asyncio.to_thread(installation.start_crashing_controller("update/3/after").wait, 60) == -9
        await storage.retention.delete([job.id])
        crashed = installation.start_crashing_controller(point)
        assert await asyncio.to_thread(crashed.wait, 60) == -9
        async with installation.controller() as parts:
            await all_gone(installation, storage, job)
            assert await nothing_listed(parts, installation)()


async def test_deleted_the_moment_it_completed(installation: Installation, caplog: pytest.LogCaptureFixture) -> None:
    """Its supervisor is clearing it at the same time; that one finishes, and then the rest goes."""
    async with installation.storage() as storage, installation.controller() as parts:
        for _ in range(5):
            job = await installation.submit("echo hello")
            async with aclosing(storage.jobs.changes()) as changes:
                async for _ in changes:
                    if await storage.retention.delete([job.id]):
                        break
            await all_gone(installation, storage, job)
        assert await nothing_listed(parts, installation)()
    assert [record.message for record in caplog.records if record.levelname not in ("DEBUG", "INFO")] == []


async def test_what_cannot_be_removed_holds_up_nothing_else(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci_controller.gc.collectors.DeletedJobs.retry_seconds", 0.2)
    stuck, job = await finished(installation), await finished(installation)
    async with installation.storage() as storage, installation.controller() as parts:
        runtime = parts.runtimes[installation.runtime]
        reclaim, refused = runtime.delete_tree, []

        async def refuse(path: Path) -> None:
            if path == installation.data.job(stuck.id):
                refused.append(path)
                raise PermissionError("not yet")
            await reclaim(path)

        monkeypatch.setattr(runtime, "delete_tree", refuse)
        await storage.retention.delete([stuck.id, job.id])
        await eventually(lambda: not installation.data.job(job.id).exists())
        await eventually(lambda: len(refused) > 1, "it is tried again")
        assert [removal.job_id for removal in await storage.retention.removals(limit=9)] == [stuck.id]
        monkeypatch.setattr(runtime, "delete_tree", reclaim)
        await all_gone(installation, storage, stuck)


async def test_files_stay_while_the_engine_cannot_be_seen(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its answer it is not known whether a workload still writes there."""
    monkeypatch.setattr("ci_controller.gc.collectors.DeletedJobs.retry_seconds", 0.2)
    job = await finished(installation)
    async with installation.storage() as storage, installation.controller() as parts:
        runtime = parts.runtimes[installation.runtime]
        listing, asked = runtime.list_workloads, []

        async def no_answer() -> list[ListedWorkload]:
            asked.append(1)
            raise RuntimeUnavailable("gone")

        monkeypatch.setattr(runtime, "list_workloads", no_answer)
        before = len(asked)
        await storage.retention.delete([job.id])
        await eventually(lambda: len(asked) > before + 5)
        assert installation.data.upload(job.id).exists()
        monkeypatch.setattr(runtime, "list_workloads", listing)
        await all_gone(installation, storage, job)
