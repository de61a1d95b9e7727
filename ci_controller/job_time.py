"""The time of a job that runs: what it has taken so far does not depend on anybody setting the clock."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from ci_common.jobs import Job
from ci_common.system.processes import boot_id
from ci_common.times import Clock, Uptime

_boot = cache(boot_id)


def start_of_run(clock: Clock, uptime: Uptime) -> dict[str, Any]:
    """Return the changes to the row of a job that starts to run now."""
    return {"start_time": clock(), "start_boot": _boot(), "start_uptime": uptime()}


def now_of(job: Job, clock: Clock, uptime: Uptime) -> datetime:
    """Return the present instant as the job's own deadlines see it.

    It is the job's start and the uptime since then, as long as the machine has not been booted anew; else the clock.
    """
    if job.start_time is None or job.start_uptime is None or job.start_boot is None or job.start_boot != _boot():
        return clock()
    return job.start_time + timedelta(seconds=max(0.0, uptime() - job.start_uptime))


class OutputTime:
    """When a job wrote last, in its own time, by looks at the file's date, which is in the clock's."""

    def __init__(self) -> None:
        self._written: datetime | None = None
        self._last: datetime | None = None
        self._looked: datetime | None = None

    def last(self, written: datetime | None, now: datetime, clock_now: datetime) -> datetime | None:
        """Return when it wrote last, which is after the last look if the date has changed since; None if unknown.

        `written` is the file's date as it is now; `now` and `clock_now` are the present, in the job's time and the
        clock's.
        """
        if written is not None and written != self._written:
            self._last = now - max(clock_now - written, timedelta())
            if self._looked is not None:
                self._last = max(self._last, self._looked)
        self._written = written
        self._looked = now
        return self._last if written is not None else None
