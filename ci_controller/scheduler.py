"""The queue: which job starts now, and why the others wait. Higher priorities start first, then projects take turns."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ci_common.attempts.parts import JobEnvironment, StartWay
from ci_common.errors import CiError, DiskLow, StaleWrite
from ci_common.jobs import Conclusion, Job, Reason, ReasonCode, State
from ci_common.parsing.text import shown_size
from ci_common.quotas import QuotaExceeded
from ci_common.runtime_faults import ImageFault, RuntimeUnavailable
from ci_common.settings import Settings
from ci_common.sharing.projects import images_in
from ci_common.system.disk import Disk
from ci_controller.execution.protocol import Execution
from ci_controller.images import Images
from ci_controller.job_writer import JobWriter
from ci_controller.plan import Complete, MarkStarting, plan, retry_of
from ci_controller.policy import Observation, Verdict, WorkloadPhase, limits_of
from ci_controller.quotas import RunningQuotas
from ci_controller.runtime.protocol import WorkloadKey
from ci_controller.supervision.completion import complete
from ci_controller.supervision.supervisors import Failures
from ci_controller.turns import Share, Turns, share_of

log = logging.getLogger(__name__)

HELD_BELOW = 0.5
"""Jobs wait for room below this share of the watermark at which submissions are refused.

What has been accepted takes room while it waits and gives it back once it has run: were it held as soon as nothing more
is accepted, a queue could block itself for ever.
"""
_NOTHING_SEEN = Observation(WorkloadPhase.ABSENT)

Decision = Verdict | dict[str, Any] | None
"""What becomes of a queued job: it ends with a verdict, its row gets these changes, or nothing."""


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Takes the next step of queued jobs. Between two turns, only the images that are being pulled are known."""

    settings: Settings
    writer: JobWriter
    images: Images
    execution_of: Callable[[Job], Execution]
    """Returns the execution that a queued job would get."""
    disk: Disk
    failures: Failures = field(default_factory=Failures)
    environment_of: Callable[[Job], Awaitable[JobEnvironment | Reason | None]] | None = None
    """Returns the prepared environment of a job that is to start, why it waits for one, or None if it has none."""
    turns: Turns = field(default_factory=Turns)
    quotas: RunningQuotas = field(init=False)

    def __post_init__(self) -> None:
        quotas = RunningQuotas(self.settings, self.writer.storage.projects.list, self.writer.uptime)
        object.__setattr__(self, "quotas", quotas)

    async def turn(self, queued: Sequence[Job], active: Sequence[Job]) -> list[Job]:
        """Take the next step of every job in `queued`; return those that left the queue.

        `queued` has higher priorities first, then older jobs; `active` are the jobs that hold slots.
        """
        self.writer.timelines.saw(queued)
        free = self.settings.max_concurrency - len(active)
        no_slot = self._no_slot
        groups = {group_of(job) for job in active} - {None}
        await self.quotas.begin_turn(active)
        decided: dict[str, Verdict | dict[str, Any]] = {}
        for job in self._in_turn(queued, active, free) if free > 0 else queued:
            if free <= 0 and _only_waits(job, no_slot):
                continue  # Most of a long queue.
            group = group_of(job)
            decision = await self._decide_or_end(job, slot_is_free=free > 0, group_is_free=group not in groups)
            if isinstance(decision, dict) and "state" in decision:
                free -= 1
                self.turns.took(job)
                self.quotas.took(job)
                groups |= {group} - {None}
            if decision is not None:
                decided[job.id] = decision
        self.images.end_turn()
        # All at once, so that they share a commit.
        changed = [job for job in queued if job.id in decided]
        after = await asyncio.gather(*(self._carry_out(job, decided[job.id]) for job in changed))
        left = [job for job in after if job.state is not State.QUEUED]
        gone = {job.id for job in left}
        self.images.forget_all_but({image for job in queued if job.id not in gone for image in images_of(job)})
        return left

    def _in_turn(self, queued: Sequence[Job], active: Sequence[Job], free: int) -> Iterator[Job]:
        """Yield the jobs in the order in which they may start; once `free` of them have, the others in any order."""
        seen, full = set(), self.turns.count + free
        for job in self.turns.order(queued, active):
            seen.add(job.id)
            yield job
            if self.turns.count == full:
                break
        yield from (job for job in queued if job.id not in seen)

    @property
    def _no_slot(self) -> Reason:
        return Reason(ReasonCode.WAITING_FOR_SLOT, f"all {self.settings.max_concurrency} slots are taken")

    async def _decide_or_end(self, job: Job, **free: bool) -> Decision:
        """Decide, and end a job for which that fails again and again: it must not hold up the queue."""
        try:
            decision = await self._decide(job, **free)
        except (CiError, OSError):
            raise
        except Exception:
            return self.failures.note(WorkloadKey.of(job))
        if isinstance(decision, dict) and "state" in decision:
            self.failures.forget(WorkloadKey.of(job))
        return decision

    async def _decide(self, job: Job, **free: bool) -> Decision:
        retry = None if job.not_before is None else retry_of(job)
        match plan(job, _NOTHING_SEEN, self.writer.clock(), retry=retry):
            case Complete(verdict):
                return verdict
            case MarkStarting():
                return await self._admit(job, **free)
        return None

    async def _admit(self, job: Job, *, slot_is_free: bool, group_is_free: bool) -> Decision:
        if slot_is_free:
            limits_of(job)  # An invalid plan fails here, where it takes no slot.
        try:
            reason = await self._why_it_waits(job, slot_is_free=slot_is_free, group_is_free=group_is_free)
        except ImageFault as fault:
            return Verdict(Conclusion.ERRORED, Reason(fault.reason_code, str(fault)))
        environment = None if reason is not None else await self._environment(job)
        if isinstance(environment, Reason):
            reason, environment = environment, None
        if reason is not None:
            return {"reason": reason} if reason != job.reason else None
        runtime = self.execution_of(job).runtime_name
        what = "its container" if runtime == "docker" else "the job"
        starting = Reason(ReasonCode.STARTING, f"{what} is being started")
        return {
            "state": State.STARTING,
            "reason": starting,
            "runtime": runtime,
            "start_way": _expected_way(job),
            "environment": environment,
            "not_before": None,
        }

    async def _why_it_waits(self, job: Job, *, slot_is_free: bool, group_is_free: bool) -> Reason | None:
        """Return why the job cannot start now, or None. Raises ImageFault where it never can."""
        if job.image is not None:
            try:
                self.disk.check(share=HELD_BELOW)
            except DiskLow as exc:
                # Without a number that changes from turn to turn: each would be a write for each queued job.
                message = f"the disk under {exc.path} has less than {shown_size(exc.floor)} free"
                return Reason(ReasonCode.WAITING_FOR_DISK, message)
            try:
                for image in images_of(job):
                    if not await self.images.is_ready(image):
                        return self.images.reason(image)
            except RuntimeUnavailable as exc:
                return Reason(ReasonCode.ENGINE_UNAVAILABLE, f"the engine does not answer: {exc}")
        if not group_is_free:
            # Without the job that runs: it changes from turn to turn.
            message = f"another job of the concurrency group {job.concurrency_group!r} is running"
            return Reason(ReasonCode.WAITING_FOR_GROUP, message)
        return self.quotas.why_waiting(job) if slot_is_free else self._no_slot

    async def _environment(self, job: Job) -> JobEnvironment | Reason | None:
        if self.environment_of is None:
            return None
        try:
            return await self.environment_of(job)
        except RuntimeUnavailable as exc:
            return Reason(ReasonCode.ENGINE_UNAVAILABLE, f"the engine does not answer: {exc}")

    async def _carry_out(self, job: Job, decision: Verdict | dict[str, Any]) -> Job:
        """Return the job as it is then; where its row has changed since, that change brings another turn."""
        try:
            match decision:
                case Verdict():
                    return await complete(job, decision, writer=self.writer, execution=self.execution_of(job))
                case {"state": State.STARTING}:
                    return await self.writer.write(job, ceilings=self.quotas.ceilings(job), **decision)
                case _:
                    return await self.writer.write(job, **decision)
        except (StaleWrite, QuotaExceeded):
            return job
        except (CiError, OSError):
            raise
        except Exception:
            log.exception("job %s: the scheduler failed to write what becomes of it", job.id)
            return job


def images_of(job: Job) -> list[str]:
    """Return the images that the job needs: its own, and those of its services."""
    return images_in(job.image, job.plan)


def group_of(job: Job) -> tuple[Share, str] | None:
    """Return the concurrency group of a job, by whom it is shared, or None for a job without one."""
    return None if job.concurrency_group is None else (share_of(job.project, job.owner), job.concurrency_group)


def _expected_way(job: Job) -> StartWay | None:
    """Return how the attempt gets what it runs in, unless something already waits for it."""
    if job.plan is None:
        return None
    pulled = job.reason is not None and job.reason.code is ReasonCode.PULLING_IMAGE
    return StartWay.PULL if pulled else StartWay.COLD


def _only_waits(job: Job, no_slot: Reason) -> bool:
    """Return whether there is nothing to do for a job as long as no slot is free."""
    return job.cancel_requested_time is None and job.reason == no_slot
