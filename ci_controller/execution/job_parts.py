"""What a job's row says of its workload and its files."""

from pathlib import Path

from ci_common.jobs import Job
from ci_common.run_directory.layout import RunDirectory
from ci_common.spec import ExecutionPlan
from ci_controller.run_directory import preparation
from ci_controller.runtime.protocol import WAITING, WorkloadKey


def key_of(job: Job) -> WorkloadKey:
    """Return the workload that runs the present attempt: one made for it, or one that waited for a job."""
    return WorkloadKey(job.id, job.attempt) if job.workload is None else WorkloadKey(job.workload, WAITING)


def plan_of(job: Job) -> ExecutionPlan:
    """Return what the job is to do. Raises ValidationError where the row holds no such plan."""
    return ExecutionPlan.model_validate(job.plan)


def has_files(job: Job, run: RunDirectory, waiting_run: RunDirectory) -> bool:
    """Tell whether what was uploaded for the job is unpacked."""
    return not job.has_upload or preparation.has_workspace(run) or preparation.has_workspace(waiting_run)


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one that has its name later, or None where there is none."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns
