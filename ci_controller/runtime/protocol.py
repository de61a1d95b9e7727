"""The protocol every runtime keeps; the suite in tests/contracts runs against each implementation.

A runtime knows workloads (a container, a process group) and nothing of jobs' states. It runs `/bin/sh run <directory>`
from a run directory that the controller has prepared on this machine, and reports what it sees. Its rules:

- Everything may be repeated. Creating what exists and removing what is gone do nothing.
- "Cannot see" is not "is not there" (law 3): where the engine does not answer, every method raises
  RuntimeUnavailable; ABSENT means that the engine itself said so.
- A call that is cancelled may have taken effect. The next `look` shows whether it has.
- The controller's process may die at any point; workloads go on, and a new controller finds them by `list_workloads`.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from ci_common.errors import LimitUnenforceable
from ci_common.run_directory.layout import RunDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, Limits
from ci_controller.policy.verdicts import WorkloadPhase
from ci_controller.run_directory.script import Setup

Check = Callable[[], None]
"""Raises LeadershipLost unless this controller certainly leads; `Leadership.check`."""
Progress = Callable[[str], None]
"""Takes one line on how far a pull has come, as in `12.3 of 27.0 MB`."""
Method = TypeVar("Method", bound=Callable[..., Any])

WAITING = 0
"""The number, instead of an attempt's, of workloads that are created before it is known for which job."""
KERNEL_LIMITS = frozenset({"cpus", "memory", "pids"})
"""The limits that the kernel enforces on a container. The controller enforces the others, on every runtime."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What the engine says of a workload."""

    phase: WorkloadPhase
    """ABSENT, CREATED, RUNNING or EXITED."""
    exit_code: int | None = None
    """The exit status of the workload's first process, 137 for SIGKILL; None unless EXITED."""
    out_of_memory: bool = False
    """The engine killed a process of the workload for want of memory."""


@dataclass(frozen=True, slots=True)
class WorkloadKey:
    """Which attempt of which job; or, with the number WAITING and an id of its own, a workload that waits for one."""

    job_id: str
    attempt: int


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
    """What the job's script does before its first step."""


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


class LocalRuntime(Runtime, ImageStore, Protocol):
    """A runtime together with its images."""


def guarded(runtime: LocalRuntime, check: Check) -> LocalRuntime:
    """Return `runtime` with `check` called before every method that is `leader_only`."""
    return cast(LocalRuntime, _Guarded(runtime, check))


class _Guarded:
    def __init__(self, runtime: LocalRuntime, check: Check) -> None:
        self._runtime = runtime
        self._check = check

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._runtime, name)
        if not getattr(getattr(Runtime, name, None), "leader_only", False):
            return attribute

        async def checked(*args: Any, **kwargs: Any) -> Any:
            self._check()
            return await attribute(*args, **kwargs)

        return checked


def check_enforceable(limits: Limits, unenforced: Set[str], settings: Settings, *, why: str) -> None:
    """Raise LimitUnenforceable if `limits` has one of `unenforced`, unless `settings` allows that.

    `why` says what is missing, as the beginning of a sentence.
    """
    wanted = sorted(f"limits.{name}" for name in unenforced if getattr(limits, name) is not None)
    if wanted and settings.unenforced_limits == "refuse":
        raise LimitUnenforceable(
            f"{why}, so {' and '.join(wanted)} would do nothing; leave them out, or have them ignored by "
            "CI_UNENFORCED_LIMITS=ignore"
        )
