"""Jobs of one concurrency group, with real controllers that die: one runs at a time, and the newest takes the place."""

import asyncio
from typing import Any

import pytest

from ci_common.jobs import Conclusion, Job, NewJob, ReasonCode, State
from ci_persistence.storage import Storage
from ci_persistence.stores.outbox import Cursor, Event
from tests.helpers.databases import ON_BOTH
from tests.helpers.installation import Installation, completed
from tests.helpers.waiting import eventually

pytestmark = ON_BOTH
GROUP: dict[str, Any] = {"project": "website", "concurrency_group": "deploy"}
REPLACING = GROUP | {"cancel_running": True}


async def store(storage: Storage, job: NewJob) -> Job:
    return await storage.jobs.add(job, max_queued=1000)


async def most_at_once(storage: Storage) -> int:
    """Return how many jobs held a slot at the same time, by what was committed."""
    active: set[str] = set()
    most, cursor = 0, Cursor()
    while page := await storage.outbox.read(cursor, limit=1000):
        for entry in page:
            if entry.event is Event.STARTING:
                active.add(entry.job_id)
            elif entry.event is Event.COMPLETED:
                active.discard(entry.job_id)
            most = max(most, len(active))
        cursor = page[-1].cursor
    return most


async def test_jobs_of_a_group_run_one_after_the_other(installation: Installation) -> None:
    async with installation.storage() as storage:
        installation.data.create()
        jobs = [await store(storage, installation.shell_job("true", **GROUP)) for _ in range(4)]
        async with installation.controller():
            ended = [await completed(storage, job.id) for job in jobs]
        assert [job.conclusion for job in ended] == [Conclusion.SUCCEEDED] * 4
        assert sorted(ended, key=lambda job: job.end_time or job.submit_time) == ended, "in their order"
        assert await most_at_once(storage) == 1


async def test_a_newer_job_ends_the_running_one_and_takes_the_place_of_those_that_wait(
    installation: Installation,
) -> None:
    async with installation.storage() as storage:
        installation.data.create()
        running = await store(storage, installation.shell_job("sleep 1000", **REPLACING))
        async with installation.controller():

            async def it_runs() -> bool:
                return (await storage.jobs.get(running.id)).state is State.RUNNING

            await eventually(it_runs, "the first job runs")
            waiting = await store(storage, installation.shell_job("true", **GROUP))

            async def it_waits() -> bool:
                reason = (await storage.jobs.get(waiting.id)).reason
                return reason is not None and reason.code is ReasonCode.WAITING_FOR_GROUP

            await eventually(it_waits, "the second one waits and says why")
            newest = await store(storage, installation.shell_job("true", **REPLACING))
            ended = [await completed(storage, job.id) for job in (running, waiting, newest)]
        assert [job.conclusion for job in ended] == [Conclusion.CANCELLED, Conclusion.CANCELLED, Conclusion.SUCCEEDED]
        for job in ended[:2]:
            assert job.reason is not None
            assert newest.id in job.reason.message
        assert await most_at_once(storage) == 1


@pytest.mark.parametrize("point", ["update/1/after", "update/2/after", "update/3/before", "update/3/after"])
async def test_a_group_is_kept_when_a_controller_dies(installation: Installation, point: str) -> None:
    jobs = [await installation.submit("true", **GROUP) for _ in range(3)]
    crashed = installation.start_crashing_controller(point)
    assert await asyncio.to_thread(crashed.wait, 60) == -9, "the controller dies at this point"
    async with installation.storage() as storage, installation.controller():
        ended = [await completed(storage, job.id) for job in jobs]
        assert [job.conclusion for job in ended] == [Conclusion.SUCCEEDED] * 3
        assert await most_at_once(storage) == 1
