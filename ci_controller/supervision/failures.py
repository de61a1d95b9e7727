"""How often something unforeseen has happened to an attempt, and when enough is enough.

A job with which the controller itself goes wrong would hold a slot for ever, or keep the queue from being looked at.
"""

import logging
from uuid import uuid4

from ci_common.jobs import ReasonCode
from ci_controller.policy.verdicts import Verdict, errored
from ci_controller.runtime.protocol import WorkloadKey

log = logging.getLogger(__name__)

MOST_FAILURES = 3
"""After so many an attempt is ended. One may be of a passing kind, such as too many open files."""
LONGEST_PAUSE = 60.0


class Failures:
    """Counts the failures of attempts that have not come to an end."""

    def __init__(self) -> None:
        self._counts: dict[WorkloadKey, int] = {}

    def note(self, key: WorkloadKey) -> Verdict | None:
        """Note the exception that is being handled; return how the attempt ends once it was one too many."""
        count = self._counts[key] = self._counts.get(key, 0) + 1
        error_id = uuid4().hex
        log.exception("error %s: failed at job %s (%d of %d)", error_id, key.job_id, count, MOST_FAILURES)
        if count < MOST_FAILURES:
            return None
        message = f"the controller failed at this job {count} times; its log tells more under {error_id}"
        return errored(ReasonCode.INTERNAL_ERROR, message)

    def forget(self, key: WorkloadKey) -> None:
        """Note that the attempt has been looked at without failure."""
        self._counts.pop(key, None)

    def pause(self, key: WorkloadKey, shortest: float) -> float:
        """Return for how many seconds to leave the attempt alone: longer each time."""
        return float(min(LONGEST_PAUSE, shortest * 2 ** (self._counts.get(key, 1) - 1)))
