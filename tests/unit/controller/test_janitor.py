"""What a crash left of attempts that have ended, be they a job's last or not."""

from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from ci_common.errors import RuntimeUnavailable
from ci_common.jobs import Attempt, Conclusion, Job, State, new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.processes import this_process
from ci_common.times import utc_now
from ci_controller.gc.janitor import ORPHAN_SECONDS, Janitor
from ci_controller.job_writer import JobWriter
from ci_controller.runtime.protocol import Runtime, Sighting, WorkloadKey
from ci_persistence.repository import Lease
from ci_persistence.sqlite.repository import SQLiteJobRepository
from tests.helpers.clocks import SetClock, SetUptime
from tests.helpers.jobs import NOON, bring, new_job
from tests.helpers.leading import leading


async def test_what_attempts_that_have_ended_left_is_cleared(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.create()
    supervised: list[Job] = []
    async with leading(tmp_path) as (repository, lease):

        async def stored(state: State, *, attempts: int = 1) -> Job:
            job = await repository.add(new_job(max_attempts=9), max_queued=9)
            for number in range(1, attempts):
                job = await bring(repository, lease, job, State.RUNNING)
                ended = Attempt(number=number, conclusion=Conclusion.FAILED, end_time=NOON)
                anew: dict[str, Any] = {
                    "state": State.QUEUED,
                    "start_time": None,
                    "runtime": None,
                    "attempt": number + 1,
                }
                job = await repository.update(job, lease, **anew, earlier_attempts=(*job.earlier_attempts, ended))
            return await bring(repository, lease, job, state)

        again = await stored(State.QUEUED, attempts=3)
        running = await stored(State.RUNNING)
        ended = await stored(State.COMPLETED, attempts=2)
        for job, attempt in ((again, 1), (again, 3), (running, 1), (ended, 2)):
            data.run(job.id, attempt).workspace.mkdir(parents=True)
        data.run(again.id, 2).workspace.with_name("workspace.new").mkdir(parents=True)
        data.run(ended.id, 1).path.mkdir(parents=True)
        data.run(ended.id, 1).log.touch()
        renamed = await stored(State.COMPLETED)
        (data.run(renamed.id, 1).path / "aside").mkdir(parents=True)
        replaced = await stored(State.COMPLETED)
        data.job(replaced.id).mkdir(parents=True)
        data.run(replaced.id, 1).path.symlink_to(tmp_path)

        await Janitor(data, JobWriter(repository, lease, utc_now), supervised.append).sweep_directories()
    left = {(again.id, 1), (again.id, 2), (ended.id, 2), (renamed.id, 1), (replaced.id, 1)}
    assert {(job.id, job.attempt) for job in supervised} == left
    assert all(job.state is State.COMPLETED for job in supervised)


@pytest.mark.parametrize("hours", [-5, 5])
async def test_an_orphan_goes_once_it_has_been_one_for_a_while_whatever_the_clocks_say(
    tmp_path: Path, hours: int
) -> None:
    uptime, removed = SetUptime(), []
    repository = SQLiteJobRepository(tmp_path / "jobs.db")
    clock = SetClock()
    lease = Lease(this_process(), 1)
    janitor = Janitor(DataDirectory(tmp_path), JobWriter(repository, lease, clock, uptime), lambda _: None)

    class Removing:
        name = "removing"

        async def remove(self, key: WorkloadKey) -> None:
            removed.append(key)

    orphan = Sighting(WorkloadKey(new_job_id(), 1), clock())
    clock.off = timedelta(hours=hours)
    for passing in (0.0, ORPHAN_SECONDS - 1):
        uptime.seconds += passing
        await janitor.sweep_orphans(cast(Runtime, Removing()), [orphan])
        assert removed == []
    await janitor.sweep_orphans(cast(Runtime, Removing()), [])
    uptime.seconds += 1
    await janitor.sweep_orphans(cast(Runtime, Removing()), [orphan])
    assert removed == [], "it was none in between"
    uptime.seconds += ORPHAN_SECONDS
    await janitor.sweep_orphans(cast(Runtime, Removing()), [orphan])
    assert removed == [orphan.key]


async def test_an_orphan_that_cannot_be_removed_keeps_no_other(tmp_path: Path) -> None:
    uptime, removed = SetUptime(), list[WorkloadKey]()
    writer = JobWriter(SQLiteJobRepository(tmp_path / "jobs.db"), Lease(this_process(), 1), utc_now, uptime)
    janitor = Janitor(DataDirectory(tmp_path), writer, lambda _: None)
    stuck, other = (Sighting(WorkloadKey(new_job_id(), 1), utc_now()) for _ in range(2))

    class Busy:
        name = "busy"

        async def remove(self, key: WorkloadKey) -> None:
            if key == stuck.key:
                raise RuntimeUnavailable("device or resource busy")
            removed.append(key)

    for passing in (0.0, ORPHAN_SECONDS):
        uptime.seconds += passing
        await janitor.sweep_orphans(cast(Runtime, Busy()), [stuck, other])
    assert removed == [other.key]
