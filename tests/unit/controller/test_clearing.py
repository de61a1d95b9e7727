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
from ci_persistence.repository import Lease
from ci_persistence.sqlite.repository import SQLiteJobRepository
from tests.helpers.installation import leading
from tests.helpers.jobs import NOON, PLENTY, bring, new_job


@pytest.fixture
async def led(tmp_path: Path) -> AsyncIterator[tuple[SQLiteJobRepository, Lease]]:
    async with leading(tmp_path) as led:
        yield led


async def stored(led: tuple[SQLiteJobRepository, Lease], state: State) -> Job:
    repository, lease = led
    return await bring(repository, lease, await repository.add(new_job(max_attempts=2), max_queued=PLENTY), state)


@pytest.mark.parametrize("is_known", [True, False])
async def test_of_a_completed_job_it_is_noted(led: tuple[SQLiteJobRepository, Lease], is_known: bool) -> None:
    repository, lease = led
    job = await stored(led, State.COMPLETED)
    await note_cleaned(job, JobWriter(repository, lease, utc_now), job if is_known else None)
    after = await repository.get(job.id)
    assert list(after.trace) == [Milestone.CLEARED]
    assert after == job.with_changes(trace=after.trace, version=job.version + 1)


@pytest.mark.parametrize("next_state", [State.QUEUED, State.RUNNING, State.COMPLETED])
async def test_of_an_earlier_attempt_nothing_is_written(
    led: tuple[SQLiteJobRepository, Lease], next_state: State
) -> None:
    repository, lease = led
    ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=NOON)
    requeued: dict[str, Any] = {"state": State.QUEUED, "attempt": 2, "earlier_attempts": (ended,)}
    job = await stored(led, State.STARTING)
    job = await repository.update(job, lease, **requeued, start_time=None, runtime=None)
    job = await bring(repository, lease, job, next_state)
    await note_cleaned(job.as_of(1), JobWriter(repository, lease, utc_now), None)
    assert await repository.get(job.id) == job


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_deleted_job_stays_deleted(led: tuple[SQLiteJobRepository, Lease], is_known: bool) -> None:
    repository, lease = led
    job = await stored(led, State.COMPLETED)
    await repository.delete([job.id])
    with pytest.raises(JobNotFound):
        await note_cleaned(job, JobWriter(repository, lease, utc_now), job if is_known else None)
