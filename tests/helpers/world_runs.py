"""What a `World` has of one attempt: its run directory, its workload, and what a controller sees of both."""

from dataclasses import dataclass

from ci_common.jobs import Job, State
from ci_common.run_directory.layout import ExitRecord
from ci_controller.policy.verdicts import WorkloadPhase


@dataclass
class Workload:
    """A container with the script in it."""

    phase: WorkloadPhase = WorkloadPhase.CREATED
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
    claimed: Workload | None = None
    """A workload that waited, which the attempt has claimed and does not run in yet; maybe never will."""
    lost: bool = False
    """Somebody else has removed or killed its workload."""


def phase_of(run: Run, job: Job) -> WorkloadPhase:
    """As `ci_controller.execution.workloads` makes it of the engine's word and the marks."""
    if job.state is State.RUNNING and run.exit is not None:
        return WorkloadPhase.FINISHED
    if run.workload is None:
        return WorkloadPhase.ABSENT
    if run.workload.phase in (WorkloadPhase.CREATED, WorkloadPhase.EXITED):
        return run.workload.phase
    if run.started:
        return WorkloadPhase.RUNNING
    return WorkloadPhase.BOOTING if run.waiting is None else WorkloadPhase.AT_GATE


def end(workload: Workload, code: int) -> None:
    workload.phase, workload.exit_code = WorkloadPhase.EXITED, code
