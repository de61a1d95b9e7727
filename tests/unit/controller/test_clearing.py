"""What is written once everything of an attempt has gone."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import JobNotFound
from ci_common.jobs import Attempt, Conclusion, Job, State
from ci_common.times import Milestone, utc_now
from ci_controller.job_writer import JobWriter
from ci_controller.supervision.completion import note_cleaned
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.helpers.installation import leading
from tests.helpers.jobs import NOON, PLENTY, bring, new_job


@pytest.fixture
async def led(tmp_path: Path) -> AsyncIterator[tuple[Storage, Lease]]:
    async with leading(tmp_path) as led:
        yield led


async def stored(led: tuple[Storage, Lease], state: State) -> Job:
    storage, lease = led
    return await bring(storage, lease, await storage.jobs.add(new_job(max_attempts=2), max_queued=PLENTY), state)


@pytest.mark.parametrize("is_known", [True, False])
async def test_of_a_completed_job_it_is_noted(led: tuple[Storage, Lease], is_known: bool) -> None:
    storage, lease = led
    job = await stored(led, State.COMPLETED)
    await note_cleaned(job, JobWriter(storage, lease, utc_now), job if is_known else None)
    after = await storage.jobs.get(job.id)
    assert list(after.trace) == [Milestone.CLEARED]
    assert after == job.with_changes(trace=after.trace, version=job.version + 1)


@pytest.mark.parametrize("next_state", [State.QUEUED, State.RUNNING, State.COMPLETED])
async def test_of_an_earlier_attempt_nothing_is_written(led: tuple[Storage, Lease], next_state: State) -> None:
    storage, lease = led
    ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=NOON)
    requeued: dict[str, Any] = {"state": State.QUEUED, "attempt": 2, "earlier_attempts": (ended,)}
    job = await stored(led, State.STARTING)
    job = await storage.jobs.update(job, lease, **requeued, start_time=None, runtime=None)
    job = await bring(storage, lease, job, next_state)
    await note_cleaned(job.as_of(1), JobWriter(storage, lease, utc_now), None)
    assert await storage.jobs.get(job.id) == job


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_deleted_job_stays_deleted(led: tuple[Storage, Lease], is_known: bool) -> None:
    storage, lease = led
    job = await stored(led, State.COMPLETED)
    await storage.retention.delete([job.id])
    with pytest.raises(JobNotFound):
        await note_cleaned(job, JobWriter(storage, lease, utc_now), job if is_known else None)
