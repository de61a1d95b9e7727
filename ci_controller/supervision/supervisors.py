"""The supervisors of one controller's term: one for each attempt that is not done, isolated from each other.

A job with which the controller itself fails again and again is ended: it would hold a slot, or the queue, for ever.
"""

import asyncio
import logging
from collections.abc import Callable
from uuid import uuid4

from ci_common.errors import JobNotFound, LeadershipLost, RuntimeUnavailable
from ci_common.jobs import Job, ReasonCode
from ci_common.settings import Settings
from ci_controller.execution.protocol import Execution
from ci_controller.job_writer import JobWriter
from ci_controller.plan import Jitter
from ci_controller.policy.verdicts import Verdict, errored
from ci_controller.runtime.protocol import WorkloadKey
from ci_controller.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)

GREEDY_BYTES = 1024**2
"""A job whose files take less has not filled the disk."""
CLEANING_SECONDS = 3.0
"""How long a controller that stops still cleans up what completed jobs left."""
MOST_FAILURES = 3
"""After so many failures an attempt is ended. One may be of a passing kind, such as too many open files."""
LONGEST_PAUSE = 60.0


class Failures:
    """Counts how often the controller failed, in ways that nothing foresees, at attempts that have not ended."""

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
        """Note that the attempt has been driven without failure."""
        self._counts.pop(key, None)

    def pause(self, key: WorkloadKey, shortest: float) -> float:
        """Return for how many seconds to leave the attempt alone: longer each time."""
        return float(min(LONGEST_PAUSE, shortest * 2 ** (self._counts.get(key, 1) - 1)))


class Supervisors:
    """All supervisors of one term."""

    def __init__(
        self,
        settings: Settings,
        *,
        writer: JobWriter,
        jitter: Jitter,
        execution_of: Callable[[Job], Execution],
        lost_leadership: Callable[[], None],
        one_ended: Callable[[bool], None],
    ) -> None:
        """`lost_leadership` is called once a supervisor has met another leader.

        `one_ended` is called after each supervisor's end, with whether its attempt is over and nothing is left to do.
        """
        self._settings = settings
        self._writer = writer
        self._jitter = jitter
        self._execution_of = execution_of
        self._lost_leadership = lost_leadership
        self._one_ended = one_ended
        self._failures = Failures()
        self._supervisors: dict[WorkloadKey, Supervisor] = {}
        self._tasks: dict[WorkloadKey, asyncio.Task[None]] = {}
        self._seen_cancels: dict[WorkloadKey, bool] = {}

    def __len__(self) -> int:
        return len(self._supervisors)

    def supervise(self, job: Job) -> None:
        """Make sure that the attempt that `job` is at has a supervisor."""
        key = WorkloadKey(job.id, job.attempt)
        if key not in self._supervisors:
            supervisor = Supervisor(
                job, self._settings, writer=self._writer, execution=self._execution_of(job), jitter=self._jitter
            )
            self._supervisors[key] = supervisor
            name = f"job {job.id}, attempt {job.attempt}"
            self._tasks[key] = asyncio.create_task(self._isolated(key, supervisor), name=name)

    def wake_if_cancelled(self, job: Job) -> None:
        """Wake the job's supervisor if its cancel request has not been seen before."""
        key = WorkloadKey(job.id, job.attempt)
        cancelled = job.cancel_requested_time is not None
        if cancelled and not self._seen_cancels.get(key, False):
            self._supervisors[key].wake()
        self._seen_cancels[key] = cancelled

    def hurry(self, job_id: str) -> bool:
        """Return whether the job has a supervisor, and have it check at once whether its row is still there."""
        own = [supervisor for key, supervisor in self._supervisors.items() if key.job_id == job_id]
        for supervisor in own:
            supervisor.wake()
        return bool(own)

    def use(self, runtime: str) -> bool:
        """Return whether some attempt runs there."""
        return any(supervisor.runtime_name == runtime for supervisor in self._supervisors.values())

    async def end_greediest(self) -> bool:
        """Have the running job ended whose files take most of the disk; return whether there is one that takes some."""
        taken = [(await _disk_bytes(supervisor), supervisor) for supervisor in list(self._supervisors.values())]
        most, greediest = max(taken, key=lambda each: each[0], default=(0, None))
        if greediest is None or most < GREEDY_BYTES:
            return False
        greediest.end_for_room()
        return True

    async def _isolated(self, key: WorkloadKey, supervisor: Supervisor) -> None:
        """A failure at one job stops no other; the next full look gives it a new supervisor."""
        is_over = False
        try:
            await supervisor.run()
            is_over = supervisor.is_cleaning_up
        except JobNotFound:
            log.info("job %s is gone", key.job_id)
        except LeadershipLost:
            self._lost_leadership()
        except Exception:
            await self._failed(key, supervisor)
        else:
            self._failures.forget(key)
        finally:
            self._forget(key)
            self._one_ended(is_over)

    async def _failed(self, key: WorkloadKey, supervisor: Supervisor) -> None:
        """Leave the attempt alone for a while, and end it once it has failed too often."""
        verdict = self._failures.note(key)
        if verdict is not None:
            try:
                await supervisor.give_up(verdict)
            except JobNotFound:
                self._failures.forget(key)
            except Exception:
                log.exception("job %s cannot be ended", key.job_id)
        await asyncio.sleep(self._failures.pause(key, self._settings.reconcile_interval))

    def _forget(self, key: WorkloadKey) -> None:
        self._supervisors.pop(key, None)
        self._tasks.pop(key, None)
        self._seen_cancels.pop(key, None)
        self._writer.timelines.forget(key.job_id, key.attempt)

    async def close(self) -> None:
        """Leave jobs that have not completed as they are; clean up after those that have, within a bounded time."""
        tasks = dict(self._tasks)
        cleaning = {tasks[key] for key, supervisor in self._supervisors.items() if supervisor.is_cleaning_up}
        for task in set(tasks.values()) - cleaning:
            task.cancel()
        for supervisor in self._supervisors.values():
            supervisor.wake()  # The engine's events are not heard any more, so they are not waited for.
        if cleaning:
            await asyncio.wait(cleaning, timeout=CLEANING_SECONDS)
        for task in cleaning:
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def _disk_bytes(supervisor: Supervisor) -> int:
    try:
        return await supervisor.disk_bytes()
    except RuntimeUnavailable:
        return 0
