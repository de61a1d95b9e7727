"""What a crash left of attempts that have ended, be they a job's last or not."""

from pathlib import Path
from typing import Any

from ci_common.jobs import Attempt, Conclusion, Job, State
from ci_common.run_directory.layout import DataDirectory
from ci_controller.gc.directories import UncleanAttempts
from tests.helpers.installation import leading
from tests.helpers.jobs import NOON, bring, new_job
from tests.unit.controller.gc.rounds import one_round


async def test_what_attempts_that_have_ended_left_is_cleared(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.create()
    supervised: list[Job] = []
    async with leading(tmp_path) as (storage, lease):

        async def stored(state: State, *, attempts: int = 1) -> Job:
            job = await storage.jobs.add(new_job(max_attempts=9), max_queued=9)
            for number in range(1, attempts):
                job = await bring(storage, lease, job, State.RUNNING)
                ended = Attempt(number=number, conclusion=Conclusion.FAILED, end_time=NOON)
                requeued: dict[str, Any] = {
                    "state": State.QUEUED,
                    "start_time": None,
                    "runtime": None,
                    "attempt": number + 1,
                }
                job = await storage.jobs.update(job, lease, **requeued, earlier_attempts=(*job.earlier_attempts, ended))
            return await bring(storage, lease, job, state)

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

        await one_round(UncleanAttempts(data, storage.jobs, supervised.append))
    left = {(again.id, 1), (again.id, 2), (ended.id, 2), (renamed.id, 1), (replaced.id, 1)}
    assert {(job.id, job.attempt) for job in supervised} == left
    assert all(job.state is State.COMPLETED for job in supervised)
