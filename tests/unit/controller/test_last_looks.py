"""Whether what ran a completed job is stopped before its files are removed."""

from typing import cast

import pytest

from ci_common.ids import new_job_id
from ci_common.jobs import Conclusion, Job, State
from ci_common.times import utc_now
from ci_common.watch import FileWatcher
from ci_controller.builtin import BuiltinExecution
from ci_controller.completion import Writer
from ci_controller.supervisor import Supervisor
from ci_controller.verdicts import Observed, Sight
from ci_persistence.repository import JobRepository, Lease


class Played(BuiltinExecution):
    """Shows a completed job as `sight`, and notes what its end was taken to be."""

    def __init__(self, sight: Sight) -> None:
        super().__init__(utc_now)
        self.sight = sight
        self.cleared: list[bool] = []

    async def look(self, job: Job) -> Observed:
        return Observed(self.sight)

    async def clear(self, job: Job, *, has_ended: bool) -> None:
        self.cleared.append(has_ended)


@pytest.mark.parametrize(
    ("sight", "told", "has_ended"),
    [
        (Sight.RUNNING, True, False),
        (Sight.EXITED, False, True),
        (Sight.FINISHED, True, True),
        (Sight.FINISHED, False, False),  # A job can write what its script writes.
    ],
)
async def test_the_word_of_a_script_counts_once_the_engine_has_told_of_something(
    sight: Sight, told: bool, has_ended: bool
) -> None:
    job = Job(
        id=new_job_id(),
        type="echo",
        submit_time=utc_now(),
        state=State.COMPLETED,
        conclusion=Conclusion.SUCCEEDED,
        end_time=utc_now(),
    )
    played = Played(sight)
    writer = Writer(cast(JobRepository, None), cast(Lease, None), utc_now)
    async with FileWatcher() as watcher:
        supervisor = Supervisor(
            job, writer=writer, execution=played, watcher=watcher, interval=1, grace=1, chance=lambda: 0.0
        )
        if told:
            supervisor.wake()
        await supervisor.run()
    assert played.cleared == [has_ended]
