"""What a `World` has of one attempt: its run directory, its workload, and what a controller sees of both."""

from dataclasses import dataclass

from ci_common.jobs import Job, State
from ci_common.run_directory.layout import ExitRecord
from ci_controller.policy.verdicts import Sight


@dataclass
class Workload:
    """A container with the script in it."""

    sight: Sight = Sight.CREATED
    exit_code: int | None = None
    told_to_end: bool = False


@dataclass
class Run:
    """One attempt: its run directory and its workload."""

    files: bool = False
    waiting: object | None = None
    """The mark, one of its own for every time that a script comes to the gate."""
    started: bool = False
    exit: ExitRecord | None = None
    workload: Workload | None = None
    pooled: bool = False
    """Its workload waits in the pool's directory still."""
    lost: bool = False
    """Somebody else has removed or killed its workload."""


def sight_of(run: Run, job: Job) -> Sight:
    """As `ci_controller.execution.workload_execution` makes it of the engine's word and the marks."""
    if job.state is State.RUNNING and run.exit is not None:
        return Sight.FINISHED
    if run.workload is None:
        return Sight.ABSENT
    if run.workload.sight in (Sight.CREATED, Sight.EXITED):
        return run.workload.sight
    if run.pooled:
        return Sight.POOLED
    if run.started:
        return Sight.RUNNING
    return Sight.BOOTING if run.waiting is None else Sight.AT_GATE


def end(workload: Workload, code: int) -> None:
    workload.sight, workload.exit_code = Sight.EXITED, code
