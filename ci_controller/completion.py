"""How a job is completed: what it left is collected, then the row is written, then everything else is removed."""

import logging
from dataclasses import dataclass

from ci_common.jobs import Conclusion, Job, State
from ci_common.times import Clock
from ci_controller.execution import Execution
from ci_controller.plan import Verdict
from ci_persistence.repository import JobRepository, Lease

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Writer:
    """The controller's hand on the rows: the repository, together with the proof that this controller leads."""

    repository: JobRepository
    lease: Lease
    clock: Clock

    async def write(self, job: Job, **changes: object) -> Job:
        """Write `changes`; see `JobRepository.update`."""
        return await self.repository.update(job, self.lease, **changes)


async def complete(job: Job, verdict: Verdict, *, writer: Writer, execution: Execution) -> None:
    """End `job` with `verdict`. Raises StaleWrite where the row changed meanwhile, and RuntimeUnavailable."""
    left = await execution.collect(job)
    failed_by_us = verdict.conclusion is Conclusion.ERRORED and verdict.reason is not None
    done = await writer.write(
        job,
        state=State.COMPLETED,
        end_time=max(writer.clock(), job.start_time or job.submit_time),
        conclusion=verdict.conclusion,
        reason=verdict.reason,
        exit_code=verdict.exit_code,
        error=verdict.reason.message if failed_by_us and verdict.reason else None,
        **left,
    )
    log.info("job %s (%s) completed: %s", job.id, job.type, verdict.conclusion)
    await clear(done, execution)


async def clear(job: Job, execution: Execution) -> None:
    """Remove what a completed job left behind. What cannot be removed is named in the log, and tried again later."""
    try:
        await execution.clear(job)
    except OSError as exc:
        log.warning("job %s: something is left in its run directory: %s", job.id, exc)
        await execution.discard(job)
