"""How jobs are carried out: the protocol that supervisors drive. `tests/contracts` has the suite that each one keeps.

An implementation carries out attempts of jobs somewhere: in a run directory on this machine, on a host reached by ssh,
by an agent in a pod or a batch allocation, by a program that others wrote. All that a supervisor knows of an
attempt it knows from here, so nothing in the protocol is a path, a file descriptor or a process of this machine.

The order of calls for one attempt is: `prepare`, `start`, `release_gate`, `collect`, `clean_up`, with `observe` at any
time, and `stop` at any time after `start`. The supervisor commits the row between them: STARTING before `prepare`,
RUNNING before `release_gate`, why a job is stopped before `stop`, its end after `collect` and before `clean_up`.
Rules for all methods:

- Each may be repeated, after it returned, failed or was cancelled, by this controller or by the next one. A controller
  may die at any point, and all that the next one has is the row and `observe`.
- A caller that is cancelled is leaving; the attempt goes on. A call that was cancelled may have taken effect.
- Each may be carried out long after it was made, when another controller leads, and must do no harm then.
- "Cannot see" is not "is not there": RuntimeUnavailable is raised by every method that cannot find out or act at
  present. It says nothing of the attempt, and is never raised for anything that a later call could not do.
- LeadershipLost is raised by every method that changes something for a controller that may not lead any more.
- Seconds are floats. Sizes are bytes. Instants are UTC, by the clock of the machine where the attempt runs.
"""

from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from ci_common.attempts.outcomes import ResourceUse, Results, UsedImage
from ci_common.attempts.parts import JobArtifacts, JobCache, StepResult
from ci_common.attempts.testing import CaseSummary
from ci_common.jobs import Conclusion, Job, State
from ci_controller.policy import Observation, WorkloadPhase
from ci_controller.runtime.protocol import WorkloadKey

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Scope(StrEnum):
    """How much `Execution.clean_up` removes."""

    WORKLOAD = "workload"
    """What runs the attempt, and nothing of its files."""
    WORKSPACE = "workspace"
    """The workspace, to make room for writing the end of the attempt; what runs it is stopped, and stays."""
    ALL = "all"
    """What runs the attempt, and then all its files but the log and the upload."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What an attempt has left that its row has to tell."""

    log_bytes: int
    log_sha256: str
    """Hexadecimal, of exactly these bytes."""
    steps: tuple[StepResult, ...] = ()
    result: str | None = None
    """What a computed job returned, as text; None for any other."""
    artifacts: JobArtifacts | None = None
    """The files that are kept of it; None for a job that keeps none."""
    caches: tuple[JobCache, ...] = ()
    """What became of its caches, as far as that is known."""
    tests: CaseSummary | None = None
    """What its tests came to, as far as it has left reports."""
    results: Results = field(default_factory=Results)
    """What it said about itself."""
    resources: ResourceUse | None = None
    """What it used; None if that is not known."""
    used_image: UsedImage | None = None
    """What it ran in; None if that is not known, and where there are no images."""
    milestones: Mapping[str, int] = field(default_factory=dict)
    """Those of `ci_common.times` that are known from what the attempt left, in microseconds since 1970 UTC."""


class Wakeups(Protocol):
    """The wake-ups of one attempt: when to observe it again. For one task at a time.

    They carry no data, may be lost and may come for nothing. They come for what happens to the attempt (it comes to its
    gate, a step begins or ends, its code ends, what runs it goes) and for a limit on its log or workspace that has been
    passed. How soon: as soon as the implementation can know of it; within a second for what it has to look for.
    """

    async def wait(self, seconds: float) -> None:
        """Return at the first wake-up since the previous `wait`, or after so many seconds."""

    def wake(self) -> None:
        """Wake the task that waits, or the next one to wait."""

    def peek(self, job: Job) -> WorkloadPhase | None:
        """Return how far the attempt is already known to have come: AT_GATE, RUNNING, FINISHED (its code has ended),
        or None if it is not known to have come to its gate. Costs microseconds, and asks nothing.

        A hint, about this or an earlier workload of the attempt; only `observe` decides. `job` is the present row.
        """


class Execution(Protocol):
    """How the attempts of some jobs are carried out. `job` is always the row as of the attempt that is meant."""

    runtime_name: str
    """What the job's `runtime` says."""

    async def prepare(self, job: Job) -> None:
        """Make all that the attempt needs to be started: its files, and what runs it. For a job that is STARTING.

        Makes nothing twice. What ended before its gate is removed, and made again. What was waiting for a job may be
        given to this attempt, which then is at its gate already; it is never given to a second one, and no other waits
        for it. The job's own code is not begun.

        Raises StartFault and ImageFault if the attempt can never be started, OSError if its files cannot be written.
        """

    async def start(self, job: Job) -> None:
        """Let what was prepared go to its gate, where it waits for `release_gate`. Does nothing if it went there.

        May return before or after it is there. Raises StartFault.
        """

    async def observe(self, job: Job, *, measure: bool = False) -> Observation:
        """Return what is to be seen of the attempt now. Changes nothing that a caller can notice.

        ABSENT means that whatever would know of the attempt says that there is none; it is never a guess. What was true
        of an exit record stays true: after one that is complete, no other result follows. Asks only what is necessary,
        so that it may be called at every wake-up. With `measure`, `usage.disk_bytes` is there, which may take seconds.
        """

    async def release_gate(self, job: Job) -> bool:
        """Let the job's own code begin; return whether this call saw it begin. For a job that is RUNNING.

        The code of one attempt begins at most once, however often and by however many controllers this is called.
        Returns False if it had begun before, and if it has not begun within about a second: `observe` then tells why.
        """

    async def stop(self, job: Job, grace: float) -> None:
        """End the job's own code: SIGTERM to all of it, and SIGKILL to what is left after the grace period.

        Without a grace period (0) there is only SIGKILL.
        The period is the plan's own, or `grace` seconds if the plan has none; one that is not yet through its gate gets
        none, and one that writes far more into its log than it may loses it. Returns once nothing of it runs. Does
        nothing for what has ended, or does not exist.
        """

    async def collect(self, job: Job, conclusion: Conclusion | None = None) -> Collected:
        """Keep and return what the attempt left. For one of which nothing writes any more, or of which nothing began.

        `conclusion` is how it ends, on which depends which files are kept; with None, none are.

        The log that the digest is of is the one that readers get from then on. What a job that runs on appends after
        this is never shown, also not to readers that do not know yet that it has ended.
        """

    async def clean_up(self, job: Job, scope: Scope = Scope.ALL) -> tuple[JobCache, ...] | None:
        """Remove what is left of an attempt whose end is written; for WORKSPACE, of one whose code has ended.

        What still runs is killed first, without SIGTERM, and no file is removed before that is certain. The log stays
        readable. Does nothing for what is gone. With WORKLOAD, `job` may be an attempt without a row (`without_row`).

        Caches that the attempt has packed are kept first. Returns what has become of them, None if it has none.

        Raises OSError and RuntimeFault if something is left; the next call continues.
        """

    async def list(self) -> Collection[WorkloadKey]:
        """Return the attempts for which anything exists that could run, in any phase, also those without a row.

        A caller that wants to know which of them have a row reads the rows after this call: rows outlive them.
        """

    def events(self, job: Job) -> AbstractAsyncContextManager[Wakeups]:
        """Return a context that gives the wake-ups of the attempt while it is open, of now or later.

        Also `observe` knows more while it is open (usage, damage to the log). At most one is open per attempt.
        """


def without_row(key: WorkloadKey) -> Job:
    """Return an attempt that no row knows, as a completed job, for `clean_up` with the scope WORKLOAD."""
    return Job(id=key.job_id, type="", submit_time=_LONG_AGO, attempt=key.attempt, state=State.COMPLETED)
