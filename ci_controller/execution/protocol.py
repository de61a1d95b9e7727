"""One job's steps, carried out: the protocol that the supervisor drives.

`ci_controller.execution.workload_execution` implements it on runtimes, `ci_controller.execution.builtin` for the job
types that need none.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from ci_common.jobs import Job
from ci_common.spec import Retry
from ci_common.system.watch import FileWatcher
from ci_controller.execution.usage import UsageWatch
from ci_controller.policy.limits import Bounds
from ci_controller.policy.verdicts import Observed


class Execution(Protocol):
    """How one kind of job is carried out. Every method may be repeated; all may raise RuntimeUnavailable."""

    runtime_name: str
    """What the job's `runtime` says."""

    def bounds_of(self, job: Job) -> Bounds:
        """Return what the job has to keep to."""

    def retry_of(self, job: Job) -> Retry | None:
        """Return when the job is tried again, or None where it never is."""

    def watched(self, job: Job) -> Path | None:
        """Return the directory in which files appear when something happens to the job, once it exists."""

    async def look(self, job: Job) -> Observed:
        """Return what there is to see of the job."""

    def is_at_gate(self, job: Job) -> bool:
        """Tell whether the workload that was started is known to have come to its gate, without asking what runs it."""

    def has_ended(self, job: Job) -> bool:
        """Tell whether the running job's own code is known to have ended, without asking what runs it."""

    async def create(self, job: Job) -> None:
        """Prepare everything and create the workload. Raises StartFault, ImageNotFound."""

    async def move_in(self, job: Job) -> bool:
        """Make the waiting workload that the job took its own; return whether it is. Raises StartFault."""

    async def move_out(self, job: Job) -> None:
        """Undo that, where the workload was lost before the job's code began."""

    async def start(self, job: Job) -> None:
        """Let the workload go to its gate. Raises StartFault."""

    async def open_gate(self, job: Job) -> bool:
        """Let the job's own code begin; return whether it has, once it has or when it seems that it will not."""

    def usage_watch(self, job: Job, watcher: FileWatcher, exceeded: Callable[[], None]) -> UsageWatch | None:
        """Return what follows how much the running job uses, if anything is to be followed."""

    async def stop(self, job: Job, grace: float) -> None:
        """End the job's own code: SIGTERM, then SIGKILL after `grace` seconds where its plan does not say how many."""

    async def collect(self, job: Job) -> dict[str, Any]:
        """Return the changes to the row that say what the job left."""

    def passed(self, job: Job) -> Mapping[str, int]:
        """Return which stations (`ci_common.times`) the attempt's files tell of, and when it passed them."""

    def letting_go(self, job: Job) -> AbstractContextManager[None]:
        """Return a context for whose duration a workload may go that stays though all of its job has ended."""

    async def discard(self, job: Job) -> None:
        """Remove the workload if it has exited before its gate, and nothing else."""

    async def make_room(self, job: Job) -> bool:
        """Remove the workspace of a job whose code has ended, and nothing else; return whether there was one.

        For where its end cannot be written down for want of room.
        """

    async def taken(self, job: Job) -> int:
        """Return how many bytes of the disk the files of the attempt take."""

    async def has_gone(self, job: Job) -> bool:
        """Tell whether what runs the job says that nothing of it runs any more."""

    async def clear(self, job: Job, *, has_ended: bool) -> None:
        """Remove the workload, and then all the job's files but its log and its upload.

        `has_ended`: the workload is known not to run any more.
        """
