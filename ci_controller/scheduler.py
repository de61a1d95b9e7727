"""The queue: who starts now, who waits and why. Jobs start in the queue's order as far as their images are there."""

from collections.abc import Callable
from dataclasses import dataclass

from ci_common.errors import ImageFault, RuntimeUnavailable, StaleWrite
from ci_common.jobs import Conclusion, Job, Reason, ReasonCode, State
from ci_controller import plan as steps
from ci_controller.completion import Writer, complete
from ci_controller.execution import Execution
from ci_controller.images import Images
from ci_controller.plan import Observed, Sight, Verdict, plan

_NOTHING_SEEN = Observed(Sight.ABSENT)


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Takes the queue's next steps. Knows nothing between two turns but the images that are being pulled."""

    writer: Writer
    images: Images
    execution_of: Callable[[Job], Execution]
    """Returns the execution that a queued job would get."""
    slots: int
    """How many jobs may be active at once."""

    async def turn(self, queued: list[Job], active: int) -> list[Job]:
        """Take the next step of every job in `queued`, which is in starting order; return those that left the queue.

        `active` is how many slots are taken.
        """
        free = self.slots - active
        left: list[Job] = []
        wanted: set[str] = set()
        for job in queued:
            try:
                after = await self._take(job, slot_is_free=free > 0)
            except StaleWrite:
                after = job  # Its row has changed meanwhile; the change brings another turn.
            if after.state is not State.QUEUED:
                left.append(after)
                free -= after.state is State.STARTING
            elif after.image is not None:
                wanted.add(after.image)
        self.images.forget_all_but(wanted)
        return left

    async def _take(self, job: Job, *, slot_is_free: bool) -> Job:
        match plan(job, _NOTHING_SEEN, self.writer.clock()):
            case steps.Complete(verdict):
                return await self._complete(job, verdict)
            case steps.MarkStarting():
                return await self._start(job, slot_is_free=slot_is_free)
        return job

    async def _start(self, job: Job, *, slot_is_free: bool) -> Job:
        try:
            reason = await self._obstacle(job, slot_is_free=slot_is_free)
        except ImageFault as fault:
            reason = Reason(fault.reason_code, str(fault))
            return await self._complete(job, Verdict(Conclusion.ERRORED, reason))
        if reason is None:
            starting = Reason(ReasonCode.STARTING, "its container is being started")
            runtime = self.execution_of(job).runtime_name
            return await self.writer.write(job, state=State.STARTING, reason=starting, runtime=runtime)
        if reason != job.reason:
            return await self.writer.write(job, reason=reason)
        return job

    async def _obstacle(self, job: Job, *, slot_is_free: bool) -> Reason | None:
        """Return why the job cannot start now, or None. Raises ImageFault where it never can."""
        if job.image is not None:
            try:
                if not await self.images.is_ready(job.image):
                    return self.images.reason(job.image)
            except RuntimeUnavailable as exc:
                return Reason(ReasonCode.ENGINE_UNAVAILABLE, f"the engine does not answer: {exc}")
        if not slot_is_free:
            return Reason(ReasonCode.WAITING_FOR_SLOT, f"all {self.slots} slots are taken")
        return None

    async def _complete(self, job: Job, verdict: Verdict) -> Job:
        return await complete(job, verdict, writer=self.writer, execution=self.execution_of(job))
