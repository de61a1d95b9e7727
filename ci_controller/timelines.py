"""The milestones that this controller has seen, kept in memory until the next write of the row includes them.

Milestones that a crashed controller had not written are missing, except those that can be read from files
(`ci_common.run_directory.output.milestones_in_files`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ci_common.jobs import Job, State
from ci_common.times import Clock, Milestone, Timeline, Uptime, to_micros, uptime, utc_now

COMMITTED = {
    State.STARTING: Milestone.STARTING,
    State.RUNNING: Milestone.RUNNING,
    State.COMPLETED: Milestone.COMPLETED,
}
"""The milestones that are passed once the row with this state is committed; so the row written next has them."""


@dataclass(frozen=True, slots=True)
class _Path:
    attempt: int
    trace: Timeline


@dataclass(frozen=True, slots=True)
class Timelines:
    """The traces of the attempts that wait or are driven, by job."""

    clock: Clock = utc_now
    uptime: Uptime = uptime
    _paths: dict[str, _Path] = field(default_factory=dict)

    def of(self, job: Job) -> Timeline:
        """Return the trace of the attempt that `job` is at; of one that another has followed, a copy that goes on."""
        known = self._paths.get(job.id)
        if known is None or known.attempt < job.attempt:
            known = self._paths[job.id] = _Path(job.attempt, self._resumed(job))
        return known.trace if known.attempt == job.attempt else self._resumed(job)

    def saw(self, queued: Iterable[Job]) -> None:
        """Note that the controller has seen these jobs in the queue. There may be many, each seen again and again."""
        for job in queued:
            known = self._paths.get(job.id)
            if known is None or known.attempt != job.attempt:
                self.of(job).note(Milestone.SEEN)

    def forget(self, job_id: str, attempt: int) -> None:
        """Forget an attempt that has ended, or that somebody else drives."""
        known = self._paths.get(job_id)
        if known is not None and known.attempt == attempt:
            del self._paths[job_id]

    def _resumed(self, job: Job) -> Timeline:
        before = [*job.arrival.values(), *(to_micros(attempt.end_time) for attempt in job.earlier_attempts)]
        return Timeline(job.trace, after=max(before, default=0), clock=self.clock, uptime=self.uptime)
