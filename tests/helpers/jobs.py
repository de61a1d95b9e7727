"""Jobs to test with."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ci_common.jobs import Conclusion, Job, NewJob, State, new_job_id
from ci_persistence.repository import JobRepository, Lease

NOON = datetime(2025, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
"""An instant that is not a whole second."""
PLENTY = 1_000_000
"""A limit on queued jobs that no test reaches."""


def new_job(**fields: Any) -> NewJob:
    """Return a new `echo` job with an id of its own, submitted at noon unless `fields` say otherwise."""
    return NewJob(**{"id": new_job_id(), "type": "echo", "submit_time": NOON} | fields)


async def bring(repository: JobRepository, lease: Lease, job: Job, state: State) -> Job:
    """Take a queued job as far as `state`, by way of all states before it, and return it."""
    way: list[dict[str, Any]] = [
        {"state": State.QUEUED},
        {"state": State.STARTING, "runtime": "process", "reason": None},
        {"state": State.RUNNING, "start_time": NOON + timedelta(seconds=1)},
        {"state": State.COMPLETED, "end_time": NOON + timedelta(seconds=2), "conclusion": Conclusion.SUCCEEDED},
    ]
    for changes in way[1 : [step["state"] for step in way].index(state) + 1]:
        job = await repository.update(job, lease, **changes)
    return job
