"""Whether what ran a completed job is stopped before its files are removed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast
from unittest.mock import create_autospec

import pytest

from ci_common.ids import new_job_id
from ci_common.jobs import Conclusion, Job, ReasonCode, State
from ci_common.times import utc_now
from ci_common.watch import FileWatcher
from ci_controller import supervisor as supervisors
from ci_controller.builtin import BuiltinExecution
from ci_controller.completion import Writer
from ci_controller.supervisor import Supervisor
from ci_controller.verdicts import Observed, Sight
from ci_persistence.repository import JobRepository, Lease


class Played(BuiltinExecution):
    """Shows a completed job as `sight`, and notes what its end was taken to be. It `goes` when it is let go."""

    def __init__(self, sight: Sight, goes: Callable[[], None]) -> None:
        super().__init__(utc_now)
        self.sight = sight
        self.goes = goes
        self.cleared: list[bool] = []

    async def look(self, job: Job) -> Observed:
        return Observed(self.sight)

    @contextmanager
    def letting_go(self, job: Job) -> Iterator[None]:
        self.goes()
        yield

    async def clear(self, job: Job, *, has_ended: bool) -> None:
        self.cleared.append(has_ended)


@pytest.mark.parametrize(
    ("sight", "stopped", "told", "told_then", "has_ended"),
    [
        (Sight.RUNNING, False, True, True, False),
        (Sight.EXITED, False, False, False, True),
        (Sight.FINISHED, False, False, True, True),
        (Sight.FINISHED, False, True, False, False),  # That was of something else.
        (Sight.FINISHED, False, False, False, False),  # A job can write what its script writes.
        (Sight.FINISHED, True, True, False, True),  # It has been waited for.
    ],
)
async def test_the_word_of_a_script_counts_once_the_engine_has_told_of_something(
    sight: Sight, stopped: bool, told: bool, told_then: bool, has_ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before it is let go, or then."""
    monkeypatch.setattr(supervisors, "LEAVING_SECONDS", 0.1)
    job = Job(
        id=new_job_id(),
        type="echo",
        submit_time=utc_now(),
        state=State.COMPLETED,
        conclusion=Conclusion.SUCCEEDED,
        stop_code=ReasonCode.CANCELLED if stopped else None,
        end_time=utc_now(),
    )
    rows = create_autospec(JobRepository, instance=True)
    rows.get.return_value = rows.update.return_value = job
    writer = Writer(rows, cast(Lease, None), utc_now)
    async with FileWatcher() as watcher:
        played = Played(sight, lambda: supervisor.wake() if told_then else None)
        supervisor = Supervisor(
            job, writer=writer, execution=played, watcher=watcher, interval=1, grace=1, chance=lambda: 0.0
        )
        if told:
            supervisor.wake()
        await supervisor.run()
    assert played.cleared == [has_ended]
