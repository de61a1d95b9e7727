"""The protocol every runtime keeps; the suite in tests/contracts runs against each implementation.

A runtime knows workloads (a container, a process group) and nothing of jobs' states. It runs `/bin/sh run <directory>`
from a run directory that the controller has prepared on this machine, and reports what it sees. Its rules:

- Everything may be repeated. Creating what exists and removing what is gone do nothing.
- "Cannot see" is not "is not there" (law 3): where the engine does not answer, every method raises
  RuntimeUnavailable; ABSENT means that the engine itself said so.
- A call that is cancelled may have taken effect. The next `look` shows whether it has.
- The controller's process may die at any point; workloads go on, and a new controller finds them by `list_workloads`.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from ci_common.attempts.outcomes import ResourceUse, Sample, UsedImage
from ci_common.environments import Comparison
from ci_common.jobs import Job
from ci_common.run_directory.layout import RunDirectory
from ci_common.spec import ExecutionPlan
from ci_controller.policy import WorkloadPhase
from ci_controller.run_directory.preparation import Setup

Check = Callable[[], None]
"""Raises LeadershipLost unless this controller certainly leads; `Leadership.check`."""
Progress = Callable[[str], None]
"""Takes one line on how far a pull has come, as in `12.3 of 27.0 MB`."""
Method = TypeVar("Method", bound=Callable[..., Any])

WAITING = 0
"""The number, instead of an attempt's, of workloads that are created before it is known for which job."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What the engine says of a workload."""

    phase: WorkloadPhase
    """ABSENT, CREATED, RUNNING or EXITED."""
    exit_code: int | None = None
    """The exit status of the workload's first process, 137 for SIGKILL; None unless EXITED.

    Docker says 255 of a container that ended just when it was told to stop. What the script wrote at its end is exact.
    """
    out_of_memory: bool = False
    """The engine killed a process of the workload for want of memory."""


@dataclass(frozen=True, slots=True)
class WorkloadKey:
    """Which attempt of which job; or, with the number WAITING and an id of its own, a workload that waits for one."""

    job_id: str
    attempt: int

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the key of a workload that is made for the attempt that `job` is at."""
        return cls(job.id, job.attempt)


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """All that a runtime needs to create a workload.

    For one that is to wait for a job, `plan` is that of any job of its profile, and `profile` is what
    `ImageStore.profile_of` returned for it.
    """

    key: WorkloadKey
    run: RunDirectory
    plan: ExecutionPlan
    profile: str | None = None
    environment: str | None = None
    """The reference of the prepared environment that it starts from, which then is the image of `plan`, too."""
    downloads: Path | None = None
    """What setups have downloaded, which the workload may read and not change. Runtimes may leave it out."""
    is_apart: bool = False
    """It is nothing but a setup, which runs as in `EnvironmentMaker.make_environment` and may write downloads."""


@dataclass(frozen=True, slots=True)
class ListedWorkload:
    """A workload of this installation, as `list_workloads` finds it."""

    key: WorkloadKey
    created: datetime
    profile: str | None = None
    """The profile of one that was created to wait for a job."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a job finds around it in a workload, and what its script must know of that."""

    base: Path
    """The path under which the workload sees its run directory."""
    environment: Mapping[str, str]
    """The variables that the runtime gives every job; the plan's own take precedence."""
    setup: Setup | None = None
    """What the job's script does before its first step. A job with a prepared environment needs no program for it."""


def leader_only(method: Method) -> Method:
    """Mark a method that changes a workload or its files: only a controller that leads may call it."""
    method.leader_only = True  # type: ignore[attr-defined]
    return method


class Runtime(Protocol):
    """One place where jobs run. An implementation belongs to one installation and sees only that one's workloads."""

    name: str
    """`docker` or `process`."""
    isolated: bool
    """Whether jobs are kept from the machine and from each other."""
    has_console: bool
    """Whether a job finds its run directory's FIFO `console` at /dev/stdout and /dev/stderr, so that opening these
    again does not truncate its log; it is alone in its pid namespace and its control groups then."""
    can_wait: bool
    """Whether a workload may be created before its job is known."""

    async def open(self) -> None:
        """Connect. Raises RuntimeUnavailable, saying what is wrong, where the engine does not answer.

        May be called again at any time, also to find out whether the engine answers again.
        """

    async def close(self) -> None:
        """Disconnect. Workloads go on. May be repeated."""

    @leader_only
    async def begin_term(self) -> None:
        """Begin to lead: before its first await, forget what is known only from earlier calls, as others may have led
        since; then remove what a controller that died had for itself, such as helpers. Touches no workload.
        """

    def describe(self, plan: ExecutionPlan, run: RunDirectory) -> Surroundings:
        """Return what a job of this plan finds in a workload with this run directory. Asks the engine nothing."""

    @leader_only
    async def create(self, spec: WorkloadSpec) -> None:
        """Create the workload, which then waits to be started. Does nothing where it exists.

        Raises ImageNotFound where the image has gone in between, ImageWithoutShell, LimitUnenforceable where the plan
        has a limit that would do nothing here (unless CI_UNENFORCED_LIMITS says otherwise), StartFault where the
        engine refuses.
        """

    @leader_only
    async def start(self, key: WorkloadKey) -> None:
        """Start a workload in phase CREATED; it goes to its gate and waits there. Does nothing in any other phase.

        Raises ImageWithoutShell, StartFault.
        """

    async def look(self, key: WorkloadKey) -> EngineStatus:
        """Return what the engine says of the workload; phase ABSENT where it says there is none."""

    @leader_only
    async def stop(self, key: WorkloadKey, grace: float, run: RunDirectory | None = None) -> None:
        """Send SIGTERM to the job's own processes, and SIGKILL to what is left after `grace` seconds.

        Without a grace (0) there is no SIGTERM, so that nothing gets to write a last word.
        The mark `stopping` is made before, so that the job's script knows the signal from one of the job's own. `run`
        is the run directory of a workload that has waited for a job, which its key does not tell. A workload at its
        gate is ended at once. Returns once the workload has exited or is absent.
        """

    @leader_only
    async def remove(self, key: WorkloadKey, *, only_exited: bool = False) -> None:
        """Remove the workload, killing it where it runs. Does nothing where it is absent.

        With `only_exited`, remove it only in phase EXITED; one that was made again under this key is never hit.
        """

    async def list_workloads(self) -> list[ListedWorkload]:
        """Return all workloads of this installation, in any phase."""

    def events(self) -> AsyncIterator[WorkloadKey]:
        """Yield the key of a workload soon after something happened to it.

        Only a wake-up: events may be missed, and may come for nothing. Ends with RuntimeUnavailable where the engine
        goes; the caller begins again. Close it with `aclose`.
        """

    @leader_only
    async def delete_tree(self, path: Path) -> None:
        """Delete what is at `path` in the data directory, including files of other users, since jobs write such.

        Nothing that runs may be able to write there. Raises OSError or RuntimeFault where something is left.
        """


class ImageStore(Protocol):
    """The images that one runtime's jobs need. A pull changes nothing of any job, so anyone may call this."""

    async def has_image(self, image: str) -> bool:
        """Return whether a workload of `image` can be created without a pull; always True where images mean nothing.

        The engine is asked each time.
        """

    async def profile_of(self, plan: ExecutionPlan, *, lately: bool = True) -> str | None:
        """Return a name for all that is fixed when a workload is created, above all the content of its image.

        Jobs of one profile can take each other's workloads: everything else in a plan is in the script, or is done by
        the controller. It stays the same for as long as the image, the settings and the program do. None if a workload
        cannot be created before its job is known, or the image is not there.

        `lately`: what the engine said of the image's name within the last second is good enough.
        """

    async def pull(self, image: str, progress: Progress) -> None:
        """Get the image. Cancelling the call ends the pull.

        Raises ImageNotFound, ImageInvalid, and ImagePullFailed where another try may succeed.
        """


class ServiceHost(Protocol):
    """The services of workloads: containers beside a workload, on a network that no other workload is on.

    `Runtime.create` makes those of the plan and starts them, `Runtime.remove` removes them after the workload, and
    `list_workloads` names a workload also while only something of its services is left.
    """

    @leader_only
    async def await_services(self, key: WorkloadKey, plan: ExecutionPlan) -> None:
        """Make and start what is missing of the services, and return once each is ready.

        Raises ServiceFault where one has ended, or is not ready within its `ready_timeout` from this call on.
        """

    async def failed_service(self, key: WorkloadKey) -> str | None:
        """Return which service does not run any more and why, with the end of its log; None if each runs."""

    async def has_services(self, key: WorkloadKey) -> bool:
        """Return whether anything of the workload's services is left, their network included."""

    async def service_logs(self, key: WorkloadKey, names: Collection[str]) -> Mapping[str, bytes]:
        """Return the end of what each service has written, by name; of those that exist."""


@dataclass(frozen=True, slots=True)
class PreparedEnvironment:
    """What has become of a setup that succeeded."""

    reference: str
    """Where the runtime has it."""
    size: int
    """Bytes on disk, beyond the image's own."""
    seconds: float
    """How long the setup took."""


class EnvironmentMaker(Protocol):
    """The prepared environments of one runtime: what setups made, for workloads to start from."""

    async def basis_of(self, plan: ExecutionPlan) -> str | None:
        """Return a digest of all that a setup's outcome depends on besides the plan: above all the image's content.

        What the engine said within the last second is good enough. None if nothing can be kept here of such a plan.
        """

    @leader_only
    async def make_environment(
        self, key: str, plan: ExecutionPlan, directory: Path, downloads: Path
    ) -> PreparedEnvironment:
        """Run the setup of `plan` apart from any job, and keep what it has made outside of the workspace.

        `directory` has the workspace, with the inputs of the setup and nothing else, and gets its log. `downloads` is
        where package managers keep what they have downloaded, for setups that may share it. A call that is
        cancelled leaves nothing behind, or what `list_environments` finds. Raises SetupFailed where the setup fails or
        its outcome cannot be kept, and what `create` raises.
        """

    def downloading_into(self, downloads: Path) -> Mapping[str, str]:
        """Return the variables of a setup that runs apart from any job, and keeps its downloads there."""

    async def has_environment(self, reference: str, plan: ExecutionPlan) -> bool:
        """Return whether the environment, which was made for such a plan, is there to be started from."""

    @leader_only
    async def compare_environment(self, reference: str, key: WorkloadKey, run: RunDirectory) -> Comparison:
        """Return what differs between an environment and what a workload has made by the same setup.

        That one was created as `is_apart`, and its code has ended; it is not removed yet. Leaves nothing behind.
        Raises SetupFailed where they cannot be compared, ImageNotFound if the environment is gone.
        """

    async def list_environments(self) -> set[str]:
        """Return the references of all environments of this installation."""

    @leader_only
    async def remove_environment(self, reference: str) -> None:
        """Remove an environment, if it is there. Raises RuntimeFault where workloads of it are left."""


class Meter(Protocol):
    """What the workloads of one runtime use, and what they run in. Changes nothing."""

    async def sample(self, key: WorkloadKey) -> Sample | None:
        """Return what a workload that runs has used so far, its `seconds` left at 0; None if it is not there."""

    async def final_use(self, key: WorkloadKey) -> ResourceUse | None:
        """Return what a workload that has ended has used in all; None if only its script knows, or it is gone."""

    async def image_of(self, key: WorkloadKey) -> UsedImage | None:
        """Return the image that a workload runs in; None where there are no images, or it is gone."""


class LocalRuntime(Runtime, ImageStore, EnvironmentMaker, ServiceHost, Meter, Protocol):
    """A runtime together with its images, environments and meter, and the services of its workloads."""
