"""The protocol every runtime keeps; the suite in tests/contracts runs against each implementation.

A runtime knows workloads (a container, a process group), one per attempt of a job, and nothing of jobs' states. It runs
`/bin/sh run <directory>` from a run directory that the controller has prepared, and tells what it sees. Its rules:

- Everything may be repeated. Creating what exists and removing what is gone do nothing.
- "Cannot see" is not "is not there" (law 3): where the engine does not answer, every method raises
  RuntimeUnavailable; ABSENT means that the engine itself said so.
- A call that is cancelled may have taken effect. The next look tells.
- The process of the controller may die at any point; a workload goes on, and a new controller finds it by `list`.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ci_common.run_directory.layout import RunDirectory
from ci_common.spec import ExecutionPlan
from ci_controller.run_directory.script import Setup


class Phase(StrEnum):
    """What the engine says of a workload."""

    ABSENT = "absent"
    CREATED = "created"
    """It exists and was never started."""
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Workload:
    """What the engine says, and how the workload's first process ended where it has."""

    phase: Phase
    exit_code: int | None = None
    """The exit status of the workload's first process, 137 for SIGKILL; None unless EXITED."""
    out_of_memory: bool = False
    """The engine killed a process of the workload for want of memory."""


WAITING = 0
"""The number, instead of an attempt's, of workloads that are created before anybody knows for which job."""


@dataclass(frozen=True, slots=True)
class WorkloadKey:
    """Which attempt of which job; or, with the number WAITING and an id of its own, a workload that waits for one."""

    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """All that a runtime needs to create a workload. Of one that waits for a job, the plan stands for all of its kind.

    `kind` is what `Runtime.kind_of` returned for the plan, where the workload is to wait for a job.
    """

    key: WorkloadKey
    run: RunDirectory
    plan: ExecutionPlan
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A workload of this installation, as `list_workloads` finds it."""

    key: WorkloadKey
    created: datetime
    kind: str | None = None
    """The kind of one that was created to wait for a job."""


Progress = Callable[[str], None]
"""Takes one line on how far a pull has come, as in `12.3 of 27.0 MB`."""


class Runtime(Protocol):
    """One place where jobs run. An implementation belongs to one installation and sees only that one's workloads."""

    name: str
    """`docker` or `process`."""
    isolated: bool
    """Whether jobs are kept from the machine and from each other."""
    has_console: bool
    """Whether a job finds its run directory's FIFO `console` at /dev/stdout and /dev/stderr, so that opening these anew
    does not truncate its log; it is alone in its pid namespace and its control groups then."""

    async def open(self) -> None:
        """Get ready. Raises RuntimeUnavailable where the engine does not answer; may be called again then."""

    async def close(self) -> None:
        """Let go of everything but the workloads."""

    async def ping(self) -> None:
        """Raise RuntimeUnavailable, saying what is wrong, where the engine does not answer."""

    async def has_image(self, image: str) -> bool:
        """Tell whether a workload of `image` can be created without a pull. Always True where images mean nothing."""

    async def pull(self, image: str, progress: Progress) -> None:
        """Get the image. Cancelling the call ends the pull.

        Raises ImageNotFound, ImageInvalid, and ImagePullFailed where another try may succeed.
        """

    def base_directory(self, run: RunDirectory) -> Path:
        """Return the path under which the workload itself sees its run directory."""

    def environment(self) -> dict[str, str]:
        """Return the variables that this runtime gives every job, below the plan's own."""

    def setup(self, run: RunDirectory, plan: ExecutionPlan) -> Setup | None:
        """Return what the job's script has to do before its first step, or None."""

    async def kind_of(self, plan: ExecutionPlan) -> str | None:
        """Return a name for all that is fixed when a workload is created; None where it cannot wait for its job.

        Jobs whose plans are of one kind can take each other's workloads: what else is in a plan is in the script, or is
        done by the controller. The name of a kind stays the same for as long as the image, the settings and the program
        do. None also where the image is not there, or is none.
        """

    async def create(self, spec: WorkloadSpec) -> None:
        """Create the workload, which then waits to be started. Does nothing where it exists.

        Raises ImageNotFound where the image has gone meanwhile, ImageWithoutShell, LimitUnenforceable where the plan
        has a limit that would do nothing here (unless CI_UNENFORCED_LIMITS says otherwise), StartFault where the
        engine refuses.
        """

    async def start(self, key: WorkloadKey) -> None:
        """Start a workload in phase CREATED; it goes to its gate and waits there. Does nothing in any other phase.

        Raises ImageWithoutShell, StartFault.
        """

    async def look(self, key: WorkloadKey) -> Workload:
        """Return what the engine says of the workload; phase ABSENT where it says there is none."""

    async def stop(self, key: WorkloadKey, grace: float, run: RunDirectory | None = None) -> None:
        """Send SIGTERM to the job's own processes, and SIGKILL to whatever is left after `grace` seconds.

        The mark `stopping` is made before, so that the job's script knows the signal from one of the job's own. `run`
        is the run directory of a workload that has waited for a job, which its key does not tell. A workload at its
        gate is ended at once. Returns once the workload has exited or is absent.
        """

    async def discard(self, key: WorkloadKey) -> None:
        """Remove the workload if it has EXITED, and leave it alone in any other phase.

        It hits no workload that somebody else has made anew under this key meanwhile.
        """

    async def remove(self, key: WorkloadKey) -> None:
        """Remove the workload, killing it where it runs. Does nothing where it is absent."""

    def forget(self) -> None:
        """Forget what is only known from calls made here: somebody else may have changed every workload meanwhile.

        For whoever begins to lead, before any other call.
        """

    async def tidy(self) -> None:
        """Remove what a controller that died had for itself, such as helpers. For whoever begins to lead."""

    async def list_workloads(self) -> list[Sighting]:
        """Return all workloads of this installation, in any phase."""

    def events(self) -> AsyncIterator[WorkloadKey]:
        """Yield the key of a workload soon after something happened to it.

        Only a wake-up: events may be missed, and may come for nothing. Ends with RuntimeUnavailable where the engine
        goes; the caller begins again. Close it with `aclose`.
        """

    async def reclaim(self, path: Path) -> None:
        """Delete what is at `path` in the data directory, including files of other users, since jobs write such.

        Nothing that runs may be able to write there. Raises OSError or RuntimeFault where something is left.
        """
