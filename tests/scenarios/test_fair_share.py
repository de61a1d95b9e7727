"""One project's long queue and another's single job, with a real controller."""

import asyncio
from dataclasses import replace

import pytest

from ci_common.jobs import NewJob, State, new_job_id
from ci_common.times import utc_now
from ci_persistence.storage import Storage
from ci_persistence.stores.outbox import Cursor, Event
from tests.helpers.databases import ON_BOTH
from tests.helpers.installation import Installation
from tests.helpers.waiting import eventually

pytestmark = ON_BOTH
MANY = 1000
SLOTS = 2


def sleeper(project: str | None, owner: str = "local") -> NewJob:
    return NewJob(
        id=new_job_id(),
        type="sleep",
        submit_time=utc_now(),
        payload={"ms": 200},
        project=project,
        owner=owner,
    )


async def add(storage: Storage, jobs: list[NewJob]) -> list[str]:
    for start in range(0, len(jobs), 100):
        await asyncio.gather(*(storage.jobs.add(job, max_queued=2 * MANY) for job in jobs[start : start + 100]))
    return [job.id for job in jobs]


async def starts(storage: Storage) -> list[str]:
    """Return the ids of all jobs that have got a slot, in the order in which they did."""
    entries, cursor = [], Cursor()
    while page := await storage.outbox.read(cursor, limit=1000):
        entries += page
        cursor = page[-1].cursor
    return [entry.job_id for entry in entries if entry.event is Event.STARTING]


@pytest.mark.parametrize("shares", [("many", "one"), (None, None)], ids=["projects", "owners"])
async def test_one_job_beside_a_thousand_starts_within_two_slots(
    installation: Installation, shares: tuple[str | None, str | None]
) -> None:
    installation = replace(installation, environment={**installation.environment, "MAX_CONCURRENCY": str(SLOTS)})
    async with installation.storage() as storage:
        await add(storage, [sleeper(shares[0], "alice") for _ in range(MANY)])
        async with installation.controller():

            async def some_have_run() -> bool:
                return len(await starts(storage)) >= 2 * SLOTS

            await eventually(some_have_run, "jobs of the long queue run")
            before = set(await starts(storage))
            [one] = await add(storage, [sleeper(shares[1], "bob")])

            async def it_has_started() -> bool:
                return (await storage.jobs.get(one)).state is not State.QUEUED

            await eventually(it_has_started, "the one job gets a slot")
            order = await starts(storage)
        between = [job_id for job_id in order[: order.index(one)] if job_id not in before]
        assert len(between) <= SLOTS + 1, "those that had been chosen, and no second round"
        assert await storage.queue.length() >= MANY / 2
