"""How a job ends: what it left is collected, then the row is written, and then everything else is removed."""

import logging
from dataclasses import dataclass
from datetime import datetime

from ci_common.errors import ImageFault, StartFault
from ci_common.jobs import Conclusion, Job, State
from ci_common.times import Clock, Uptime, uptime
from ci_controller.execution import Execution
from ci_controller.job_time import now_of
from ci_controller.plan import Verdict
from ci_persistence.repository import JobRepository, Lease

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Writer:
    """The controller's hand on the rows: the repository, together with the proof that this controller leads."""

    repository: JobRepository
    lease: Lease
    clock: Clock
    uptime: Uptime = uptime

    def now_of(self, job: Job) -> datetime:
        """Return the present instant as the job's deadlines see it; see `job_time.now_of`."""
        return now_of(job, self.clock, self.uptime)

    async def write(self, job: Job, **changes: object) -> Job:
        """Write `changes`; see `JobRepository.update`."""
        return await self.repository.update(job, self.lease, **changes)


async def complete(job: Job, verdict: Verdict, *, writer: Writer, execution: Execution) -> Job:
    """End `job` with `verdict` and return it. Raises StaleWrite where its row changed meanwhile, RuntimeUnavailable."""
    left = await execution.collect(job)
    errored = verdict.reason is not None and verdict.conclusion is Conclusion.ERRORED
    done = await writer.write(
        job,
        state=State.COMPLETED,
        end_time=max(writer.clock(), job.start_time or job.submit_time),
        conclusion=verdict.conclusion,
        reason=verdict.reason,
        exit_code=verdict.exit_code,
        error=verdict.reason.message if errored and verdict.reason else None,
        **left,
    )
    log.info("job %s (%s) completed: %s", job.id, job.type, verdict.conclusion)
    return done


async def clear(job: Job, execution: Execution) -> bool:
    """Remove what a completed job left behind; return whether all of it could be removed."""
    try:
        await execution.clear(job)
    except (OSError, ImageFault, StartFault) as exc:
        log.warning("job %s: something is left in its run directory: %s", job.id, exc)
        await execution.discard(job)
        return False
    return True
