"""Whether what ran a completed job is stopped before its files are removed: the engine has to say that it ended."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast
from unittest.mock import create_autospec

import pytest

from ci_common.jobs import Conclusion, Job, ReasonCode, State, new_job_id
from ci_common.system.watch import FileWatcher
from ci_common.times import utc_now
from ci_controller.execution.builtin import BuiltinExecution
from ci_controller.job_writer import JobWriter
from ci_controller.policy.verdicts import Observed, Sight
from ci_controller.supervision import supervisor as supervisors
from ci_controller.supervision.supervisor import Supervisor
from ci_persistence.repository import JobRepository, Lease


class Played(BuiltinExecution):
    """Shows a completed job as `sight`, and notes what its end was taken to be.

    It `goes` when it is let go. `gone` is what the engine says of it then, one answer after the other.
    """

    def __init__(self, sight: Sight, goes: Callable[[], None], gone: list[bool]) -> None:
        super().__init__(utc_now)
        self.sight = sight
        self.goes = goes
        self.gone = gone
        self.cleared: list[bool] = []

    async def look(self, job: Job) -> Observed:
        return Observed(self.sight)

    @contextmanager
    def letting_go(self, job: Job) -> Iterator[None]:
        self.goes()
        yield

    async def has_gone(self, job: Job) -> bool:
        return self.gone.pop(0) if len(self.gone) > 1 else self.gone[0]

    async def clear(self, job: Job, *, has_ended: bool) -> None:
        self.cleared.append(has_ended)


@pytest.mark.parametrize(
    ("sight", "stopped", "woken_before", "woken_then", "gone", "has_ended"),
    [
        (Sight.RUNNING, False, True, True, [True], False),
        (Sight.EXITED, False, False, False, [False], True),
        (Sight.FINISHED, False, False, True, [True], True),
        (
            Sight.FINISHED,
            False,
            False,
            True,
            [False],
            False,
        ),  # The engine told of another thing.
        (Sight.FINISHED, False, False, True, [False, True], True),
        (Sight.FINISHED, False, True, False, [True], True),  # What the engine told was lost.
        (Sight.FINISHED, False, True, False, [False], False),  # A job can write what its script writes.
        (Sight.FINISHED, True, True, False, [True], True),
        (Sight.FINISHED, True, True, False, [False], False),
    ],
)
async def test_the_word_of_a_script_counts_once_the_engine_says_the_same(
    sight: Sight,
    stopped: bool,
    woken_before: bool,
    woken_then: bool,
    gone: list[bool],
    has_ended: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wake-up, before it is let go or then, is never taken for the engine's word."""
    monkeypatch.setattr(supervisors, "LEAVING_SECONDS", 0.1)
    monkeypatch.setattr(supervisors, "ASK_SECONDS", 0.05)
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
    writer = JobWriter(rows, cast(Lease, None), utc_now)
    async with FileWatcher() as watcher:
        played = Played(sight, lambda: supervisor.wake() if woken_then else None, list(gone))
        supervisor = Supervisor(
            job, writer=writer, execution=played, watcher=watcher, interval=1, grace=1, chance=lambda: 0.0
        )
        if woken_before:
            supervisor.wake()
        await supervisor.run()
    assert played.cleared == [has_ended]
