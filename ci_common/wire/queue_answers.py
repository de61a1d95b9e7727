"""The queue, as the API answers it; see `answers`."""

from pydantic import Field

from ci_common.wire.answers import ReasonView
from ci_common.wire.parts import Instant, JobId, Shown


class SlotsView(Shown):
    """How many jobs run at a time."""

    total: int = Field(
        ge=1,
        description="`MAX_CONCURRENCY` of the controller that leads or led last; this server's own before the first",
    )
    used: int = Field(ge=0)


class QueueProjectView(Shown):
    """The unfinished jobs of one project."""

    project: str | None = Field(description="null: of no project")
    queued: int = Field(ge=0)
    starting: int = Field(ge=0)
    running: int = Field(ge=0)
    oldest_submit_time: Instant | None = Field(description="of those that are queued")


class QueuedJobView(Shown):
    """A job that waits, and why."""

    job_id: JobId
    position: int = Field(
        ge=1, description="in the order in which jobs are expected to start, from 1; jobs that cannot be seen count"
    )
    project: str | None
    priority: int
    submit_time: Instant
    reason: ReasonView | None


class QueueView(Shown):
    """What runs and what waits."""

    slots: SlotsView
    controller_leads: bool = Field(description="whether a controller leads that is not known to be dead")
    queued: int = Field(ge=0, description="of the jobs that can be seen, as in all that follows")
    starting: int = Field(ge=0)
    running: int = Field(ge=0)
    reasons: dict[str, int] = Field(description="how many queued jobs wait for which reason")
    projects: list[QueueProjectView] = Field(description="those with the most unfinished jobs first, at most 100")
    jobs: list[QueuedJobView] = Field(description="in the order of their positions")
