"""How many jobs of each project and owner may run at a time, as the scheduler sees it at a turn.

The exact decision is made in the transaction that starts a job; here a job gets the reason why it waits.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from ci_common.jobs import Job, Reason, ReasonCode
from ci_common.quotas import Ceiling, Quota
from ci_common.settings import Settings
from ci_common.sharing.projects import Project, ceilings_of
from ci_common.times import Uptime

KNOWN_SECONDS = 2.0


class RunningQuotas:
    """The quotas on running jobs. `projects` lists those that were created, and is believed for KNOWN_SECONDS."""

    def __init__(self, settings: Settings, projects: Callable[[], Awaitable[list[Project]]], uptime: Uptime) -> None:
        self._settings = settings
        self._list = projects
        self._uptime = uptime
        self._projects: dict[str, Project] = {}
        self._until = 0.0
        self._running: Counter[tuple[str, str]] = Counter()

    async def begin_turn(self, active: Sequence[Job]) -> None:
        """Count the jobs that hold slots. Raises Unavailable."""
        if self._uptime() >= self._until:
            self._projects = {project.name: project for project in await self._list()}
            self._until = self._uptime() + KNOWN_SECONDS
        self._running = Counter(holder for job in active for holder in _holders(job))

    def ceilings(self, job: Job) -> tuple[Ceiling, ...]:
        """Return the limits that the start of the job has to keep."""
        project = None if job.project is None else self._projects.get(job.project)
        return ceilings_of(self._settings, (Quota.RUNNING,), name=job.project, project=project, owner=job.owner)

    def why_waiting(self, job: Job) -> Reason | None:
        """Return why the job cannot start now, None if its quotas let it."""
        for ceiling in self.ceilings(job):
            if self._running[ceiling.kind, ceiling.name] >= ceiling.limit:
                # Without the number that runs: it changes from turn to turn.
                jobs = "one job" if ceiling.limit == 1 else f"{ceiling.limit} jobs"
                message = f"{ceiling.whose} may run {jobs} at a time (its quota {ceiling.quota})"
                return Reason(ReasonCode.WAITING_FOR_QUOTA, message)
        return None

    def took(self, job: Job) -> None:
        """Count a job that starts in this turn."""
        self._running.update(_holders(job))


def _holders(job: Job) -> list[tuple[str, str]]:
    owner = ("owner", job.owner)
    return [owner] if job.project is None else [("project", job.project), owner]
