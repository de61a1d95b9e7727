"""The queue: who starts now, who waits and why. Jobs start in the queue's order as far as their images are there."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ci_common.errors import CiError, DiskLow, ImageFault, RuntimeUnavailable, StaleWrite
from ci_common.jobs import Conclusion, Job, Reason, ReasonCode, StartWay, State
from ci_common.spec import ExecutionPlan
from ci_common.system.disk import Disk
from ci_controller import plan as steps
from ci_controller.execution.protocol import Execution
from ci_controller.job_writer import JobWriter
from ci_controller.plan import plan
from ci_controller.policy.verdicts import Observed, Sight, Verdict
from ci_controller.runtime.protocol import WorkloadKey
from ci_controller.scheduling.images import Images
from ci_controller.scheduling.profiles import Kinds
from ci_controller.supervision.completion import complete
from ci_controller.supervision.failures import Failures

log = logging.getLogger(__name__)

HELD_BELOW = 0.5
"""Jobs wait for room below this share of the watermark at which submissions are refused.

What has been accepted takes room while it waits and gives it back once it has run: were it held as soon as nothing more
is accepted, a queue could block itself for ever.
"""
_NOTHING_SEEN = Observed(Sight.ABSENT)

Decision = Verdict | dict[str, Any] | None
"""What becomes of a queued job: it ends so, or its row changes so, or nothing."""


class WaitingWorkloads(Protocol):
    """Where a job that starts may find a workload that waits for it; `ci_controller.pool.Pool`, which says more."""

    def take(self, kind: str, plan: ExecutionPlan) -> str | None:
        """Return a workload for a job of this plan that starts now, or None where none waits."""

    def settle(self, workload: str) -> None:
        """A job's row names the workload, or else the next look will show that none does."""

    def give_back(self, workload: str) -> None:
        """No job's row names the workload: it waits on."""


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Takes the queue's next steps. Knows nothing between two turns but the images that are being pulled."""

    writer: JobWriter
    images: Images
    execution_of: Callable[[Job], Execution]
    """Returns the execution that a queued job would get."""
    slots: int
    """How many jobs may be active at once."""
    disk: Disk
    pool: WaitingWorkloads
    kinds: Kinds
    """Of those workloads. Where a job can take one of a kind, its image is there."""
    failures: Failures = field(default_factory=Failures)

    async def turn(self, queued: list[Job], active: int) -> list[Job]:
        """Take the next step of every job in `queued`, which is in starting order; return those that left the queue.

        `active` is how many slots are taken.
        """
        self.writer.timelines.saw(queued)
        free = self.slots - active
        no_slot = self._no_slot
        decided: dict[str, Verdict | dict[str, Any]] = {}
        for job in queued:
            if free <= 0 and _only_waits(job, no_slot):
                continue  # Most of a long queue.
            decision = await self._decide_or_end(job, slot_is_free=free > 0)
            free -= isinstance(decision, dict) and "state" in decision
            if decision is not None:
                decided[job.id] = decision
        self.kinds.forget()
        # All at once, so that they share a commit.
        changed = [job for job in queued if job.id in decided]
        after = await asyncio.gather(*(self._carry_out(job, decided[job.id]) for job in changed))
        left = [job for job in after if job.state is not State.QUEUED]
        gone = {job.id for job in left}
        self.images.forget_all_but({job.image for job in queued if job.image is not None and job.id not in gone})
        return left

    @property
    def _no_slot(self) -> Reason:
        return Reason(ReasonCode.WAITING_FOR_SLOT, f"all {self.slots} slots are taken")

    async def _decide_or_end(self, job: Job, *, slot_is_free: bool) -> Decision:
        """Decide, and end a job with which that goes wrong again and again: it must not hold up the queue."""
        try:
            decision = await self._decide(job, slot_is_free=slot_is_free)
        except (CiError, OSError):
            raise
        except Exception:
            return self.failures.note(WorkloadKey(job.id, job.attempt))
        if isinstance(decision, dict) and "state" in decision:
            self.failures.forget(WorkloadKey(job.id, job.attempt))
        return decision

    async def _decide(self, job: Job, *, slot_is_free: bool) -> Decision:
        retry = None if job.not_before is None else self.execution_of(job).retry_of(job)
        match plan(job, _NOTHING_SEEN, self.writer.clock(), retry=retry):
            case steps.Complete(verdict):
                return verdict
            case steps.MarkStarting():
                return await self._admit(job, slot_is_free=slot_is_free)
        return None

    async def _admit(self, job: Job, *, slot_is_free: bool) -> Decision:
        wanted = ExecutionPlan.model_validate(job.plan) if slot_is_free and job.plan is not None else None
        kind = None if wanted is None else await self.kinds.of(wanted)
        try:
            reason = await self._obstacle(job, slot_is_free=slot_is_free, has_image=kind is not None)
        except ImageFault as fault:
            return Verdict(Conclusion.ERRORED, Reason(fault.reason_code, str(fault)))
        if reason is None:
            runtime = self.execution_of(job).runtime_name
            what = "its container" if runtime == "docker" else "the job"
            starting = Reason(ReasonCode.STARTING, f"{what} is being started")
            way = {} if wanted is None else self._way_in(job, wanted, kind)
            return {"state": State.STARTING, "reason": starting, "runtime": runtime, "not_before": None, **way}
        return {"reason": reason} if reason != job.reason else None

    def _way_in(self, job: Job, plan: ExecutionPlan, kind: str | None) -> dict[str, Any]:
        """Return the changes to the row that say what the job is to run in."""
        workload = None if kind is None else self.pool.take(kind, plan)
        if workload is not None:
            return {"start_way": StartWay.WARM, "workload": workload}
        pulled = job.reason is not None and job.reason.code is ReasonCode.PULLING_IMAGE
        return {"start_way": StartWay.PULL if pulled else StartWay.COLD}

    async def _obstacle(self, job: Job, *, slot_is_free: bool, has_image: bool) -> Reason | None:
        """Return why the job cannot start now, or None. Raises ImageFault where it never can."""
        if job.image is not None:
            try:
                self.disk.check(share=HELD_BELOW)
            except DiskLow as exc:
                # No figure that changes from turn to turn: each would be a write for each queued job.
                message = f"the disk under {exc.path} has less than {exc.floor} bytes free"
                return Reason(ReasonCode.WAITING_FOR_DISK, message)
            try:
                if not has_image and not await self.images.is_ready(job.image):
                    return self.images.reason(job.image)
            except RuntimeUnavailable as exc:
                return Reason(ReasonCode.ENGINE_UNAVAILABLE, f"the engine does not answer: {exc}")
        if not slot_is_free:
            return self._no_slot
        return None

    async def _carry_out(self, job: Job, decision: Verdict | dict[str, Any]) -> Job:
        """Return the job as it is then; where its row has changed meanwhile, that change brings another turn."""
        try:
            match decision:
                case Verdict():
                    return await complete(job, decision, writer=self.writer, execution=self.execution_of(job))
                case _:
                    return await self._write(job, decision)
        except StaleWrite:
            return job
        except (CiError, OSError):
            raise
        except Exception:
            log.exception("job %s: the scheduler failed to write what becomes of it", job.id)
            return job

    async def _write(self, job: Job, changes: dict[str, Any]) -> Job:
        workload = changes.get("workload")
        if workload is None:
            return await self.writer.write(job, **changes)
        try:
            changed = await self.writer.write(job, **changes)
        except StaleWrite:
            self.pool.give_back(workload)
            raise
        except BaseException:
            self.pool.settle(workload)
            raise
        self.pool.settle(workload)
        return changed


def _only_waits(job: Job, no_slot: Reason) -> bool:
    """Tell whether there is nothing to do for a job as long as no slot is free."""
    return job.cancel_requested_time is None and job.reason == no_slot
