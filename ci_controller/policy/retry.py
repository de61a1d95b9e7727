"""What a retry policy comes to: whether another attempt follows, and when. Pure, but for the chance it is given."""

from collections.abc import Callable
from datetime import datetime, timedelta

from ci_common.jobs import ACTIVE_STATES, Conclusion, Job
from ci_common.spec import Retry

Chance = Callable[[], float]
"""Returns a number from 0 up to, without, 1."""


def is_tried_again(job: Job, conclusion: Conclusion, retry: Retry) -> bool:
    """Tell whether another attempt follows where the present one, which holds a slot, ends so."""
    asked_for = conclusion in retry.on and job.attempt < job.max_attempts
    return asked_for and job.state in ACTIVE_STATES and job.cancel_requested_time is None


def pause_after(attempt: int, retry: Retry, chance: Chance) -> timedelta:
    """Return how long to wait between the end of `attempt` and the next one.

    At least half of what the policy says, so that what failed has time to recover; the rest by chance, so that jobs
    that failed together do not come back together.
    """
    return timedelta(seconds=retry.longest_pause(attempt) * (1 + chance()) / 2)


def waits_until(job: Job, now: datetime, retry: Retry | None) -> datetime | None:
    """Return until when a queued job backs off, or None where it does not, or not any more.

    A clock that was set back must not make it wait for longer than its policy can have said.
    """
    if job.not_before is None or job.not_before <= now:
        return None
    was_set_back = retry and (job.not_before - now).total_seconds() > retry.longest_pause(job.attempt - 1)
    return None if was_set_back else job.not_before
