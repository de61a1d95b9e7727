"""A job's steps as far as it has come, wherever they are to be found at present."""

from ci_common.jobs import ACTIVE_STATES, Job, StepResult
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import read_steps


def step_names(job: Job) -> tuple[str, ...]:
    """Return the names of the steps that the job's plan has."""
    return tuple(str(step["name"]) for step in (job.plan or {}).get("steps", ()))


def live_steps(job: Job, run: RunDirectory) -> tuple[StepResult, ...]:
    """Return the steps that have begun: from the row once the job has completed, from its directory before."""
    return read_steps(run, step_names(job), job.start_time) if job.state in ACTIVE_STATES else job.steps
