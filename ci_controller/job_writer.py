"""The controller's writes to the rows of jobs: each is checked against the lease, and takes the job's milestones along.

Milestones are kept in memory until the next write to the row. Those that a controller which died had not written are
missing then, except for the ones that files show (`ci_common.run_directory.output.milestones_in_files`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from ci_common.attempts.parts import StartWay
from ci_common.jobs import Job, State
from ci_common.quotas import Ceiling
from ci_common.system.processes import boot_id
from ci_common.times import Clock, Milestone, Timeline, Uptime, to_micros, uptime, utc_now
from ci_controller.policy import Observation, WorkloadPhase, has_ended
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease

COMMITTED = {
    State.STARTING: Milestone.STARTING,
    State.RUNNING: Milestone.RUNNING,
    State.COMPLETED: Milestone.COMPLETED,
}
"""The milestones that are reached once the row with this state is committed; so the next write has them."""

_boot = cache(boot_id)


@dataclass(frozen=True, slots=True)
class _Path:
    attempt: int
    trace: Timeline


@dataclass(frozen=True, slots=True)
class Timelines:
    """The milestones of the attempts that wait or are driven, by job."""

    clock: Clock = utc_now
    uptime: Uptime = uptime
    _paths: dict[str, _Path] = field(default_factory=dict)

    def of(self, job: Job) -> Timeline:
        """Return the timeline of the attempt that `job` is at; for an earlier attempt, a copy of its own."""
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

    def note_progress(self, job: Job, seen: Observation) -> None:
        """Note how far an observation shows that the job has come."""
        timeline = self.of(job)
        if job.state is State.STARTING:
            if seen.phase is WorkloadPhase.CREATED:
                timeline.note(Milestone.CREATED)
            elif seen.phase is WorkloadPhase.AT_GATE and seen.start_way is StartWay.WARM:
                timeline.note(Milestone.MOVED_IN)
        elif job.state is State.RUNNING:
            if seen.usage.log_bytes > 0 or seen.usage.first_output is not None:
                timeline.note(Milestone.FIRST_OUTPUT, seen.usage.first_output)
            if has_ended(seen):
                timeline.note(Milestone.EXIT_SEEN)

    def forget(self, job_id: str, attempt: int) -> None:
        """Forget an attempt that has ended, or that another controller drives."""
        known = self._paths.get(job_id)
        if known is not None and known.attempt == attempt:
            del self._paths[job_id]

    def _resumed(self, job: Job) -> Timeline:
        before = [*job.arrival.values(), *(to_micros(attempt.end_time) for attempt in job.earlier_attempts)]
        return Timeline(job.trace, after=max(before, default=0), clock=self.clock, uptime=self.uptime)


@dataclass(frozen=True, slots=True)
class JobWriter:
    """Writes the rows of jobs: the storage, together with the lease that proves that this controller leads."""

    storage: Storage
    lease: Lease
    clock: Clock
    uptime: Uptime = uptime
    timelines: Timelines = field(default_factory=Timelines)

    def now_of(self, job: Job) -> datetime:
        """Return the present instant as the job's deadlines see it; see the function `now_of`."""
        return now_of(job, self.clock, self.uptime)

    async def write(self, job: Job, *, ceilings: Sequence[Ceiling] = (), **changes: object) -> Job:
        """Write `changes` and the job's milestones; see `JobStore.update`."""
        timeline = self.timelines.of(job)
        written = await self.storage.jobs.update(
            job, self.lease, ceilings=ceilings, **{"trace": timeline.times()} | changes
        )
        if written.state is not job.state and written.state in COMMITTED:
            timeline.note(COMMITTED[written.state])
        return written


def start_of_run(clock: Clock, uptime: Uptime) -> dict[str, Any]:
    """Return the changes to the row of a job that starts to run now."""
    return {"start_time": clock(), "start_boot": _boot(), "start_uptime": uptime()}


def now_of(job: Job, clock: Clock, uptime: Uptime) -> datetime:
    """Return the present instant as the job's own deadlines see it, however the clock has been set since.

    It is the job's start plus the uptime since then; the clock's instant after the machine was booted again.
    """
    if job.start_time is None or job.start_uptime is None or job.start_boot is None or job.start_boot != _boot():
        return clock()
    return job.start_time + timedelta(seconds=max(0.0, uptime() - job.start_uptime))


class OutputTime:
    """When a job last wrote, in its own time, derived from the dates of its log, which are in the clock's time."""

    def __init__(self) -> None:
        self._written: datetime | None = None
        self._last: datetime | None = None
        self._checked: datetime | None = None

    def last(self, written: datetime | None, now: datetime, clock_now: datetime) -> datetime | None:
        """Return when it last wrote, which is after the previous call if the date has changed since; None if unknown.

        `written` is the file's present date; `now` and `clock_now` are the present, in the job's time and the clock's.
        """
        if written is not None and written != self._written:
            self._last = now - max(clock_now - written, timedelta())
            if self._checked is not None:
                self._last = max(self._last, self._checked)
        self._written = written
        self._checked = now
        return self._last if written is not None else None


class AttemptTimes:
    """What only the supervisor of an attempt knows of it, in the job's own time."""

    def __init__(self) -> None:
        self.starts = 0
        """How often the workload has been started here."""
        self._output = OutputTime()
        self._booting_since: float | None = None

    def added_to(self, seen: Observation, now: datetime, writer: JobWriter) -> Observation:
        """Return `seen` with that; `now` is the present instant as the job's deadlines see it."""
        usage = replace(seen.usage, last_output=self._output.last(seen.usage.last_output, now, writer.clock()))
        booting_since = self._first_seen_booting(seen, now, writer.uptime())
        return replace(seen, booting_since=booting_since, starts=self.starts, usage=usage)

    def _first_seen_booting(self, seen: Observation, now: datetime, uptime: float) -> datetime | None:
        if seen.phase is not WorkloadPhase.BOOTING:
            self._booting_since = None
            return None
        if self._booting_since is None:
            self._booting_since = uptime
        return now - timedelta(seconds=uptime - self._booting_since)
