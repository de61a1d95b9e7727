"""The controller's writes to the rows of jobs, each checked against the lease of the controller that makes it."""

from dataclasses import dataclass, field
from datetime import datetime

from ci_common.jobs import Job
from ci_common.times import Clock, Uptime, uptime
from ci_controller.job_time import now_of
from ci_controller.timelines import COMMITTED, Timelines
from ci_persistence.repository import JobRepository, Lease


@dataclass(frozen=True, slots=True)
class JobWriter:
    """Writes the rows of jobs: the repository, together with the lease that proves that this controller leads."""

    repository: JobRepository
    lease: Lease
    clock: Clock
    uptime: Uptime = uptime
    timelines: Timelines = field(default_factory=Timelines)

    def now_of(self, job: Job) -> datetime:
        """Return the present instant as the job's deadlines see it; see `job_time.now_of`."""
        return now_of(job, self.clock, self.uptime)

    async def write(self, job: Job, **changes: object) -> Job:
        """Write `changes`, and which stations the job has passed; see `JobRepository.update`."""
        trace = self.timelines.of(job)
        written = await self.repository.update(job, self.lease, **{"trace": trace.times()} | changes)
        if written.state is not job.state and written.state in COMMITTED:
            trace.note(COMMITTED[written.state])
        return written
