"""The time of a job that runs: what it has taken so far does not depend on anybody setting the clock."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from ci_common.jobs import Job
from ci_common.process_start import boot_id
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
