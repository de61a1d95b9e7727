"""Jobs to test with, and clocks that a test sets."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ci_common.jobs import Conclusion, Job, NewJob, State, new_job_id
from ci_common.times import utc_now
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.helpers.waiting import eventually

NOON = datetime(2025, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
"""An instant that is not a whole second."""
PLENTY = 1_000_000
"""A limit on queued jobs that no test reaches."""


def new_job(**fields: Any) -> NewJob:
    """Return a new `echo` job with an id of its own, submitted at noon unless `fields` say otherwise."""
    return NewJob(**{"id": new_job_id(), "type": "echo", "submit_time": NOON} | fields)


async def bring(storage: Storage, lease: Lease, job: Job, state: State) -> Job:
    """Take a queued job as far as `state`, by way of all states before it, and return it."""
    way: list[dict[str, Any]] = [
        {"state": State.QUEUED},
        {"state": State.STARTING, "runtime": "process", "reason": None},
        {"state": State.RUNNING, "start_time": NOON + timedelta(seconds=1)},
        {"state": State.COMPLETED, "end_time": NOON + timedelta(seconds=2), "conclusion": Conclusion.SUCCEEDED},
    ]
    for changes in way[1 : [step["state"] for step in way].index(state) + 1]:
        job = await storage.jobs.update(job, lease, **changes)
    return job


# Clocks that a test sets.


class SetClock:
    """The wall clock, off by what a test says."""

    def __init__(self) -> None:
        self.off = timedelta()
        self._asked = 0

    def __call__(self) -> datetime:
        self._asked += 1
        return utc_now() + self.off

    async def asked_again(self) -> None:
        """Return once it has been asked several times more."""
        wanted = self._asked + 5
        await eventually(lambda: self._asked >= wanted, "the clock is read")


class SetUptime:
    """An uptime that passes only when a test says so."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds
