"""The supervisors of one controller's term: one for each attempt that is not done, isolated from each other.

A job with which the controller itself fails again and again is ended: it would hold a slot, or the queue, for ever. So
is the job that takes most of a full disk: nothing else would make room on it for the ends of other jobs, and the job
would also fill the room that is reserved for cancellations and deletions (`ci_common.system.disk`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import uuid4

from ci_common.errors import JobNotFound, LeadershipLost
from ci_common.jobs import Job, ReasonCode, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.settings import Settings
from ci_common.system.disk import Ballast, is_full
from ci_controller.execution.protocol import Execution
from ci_controller.job_writer import JobWriter
from ci_controller.plan import Jitter
from ci_controller.policy import Verdict, errored
from ci_controller.runtime.protocol import WorkloadKey
from ci_controller.supervision.completion import end_anyway
from ci_controller.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)

GREEDY_BYTES = 1024**2
"""A job whose files take less has not filled the disk."""
CLEANING_SECONDS = 3.0
"""How long a controller that stops still cleans up what completed jobs left."""
MOST_FAILURES = 3
"""After so many failures an attempt is ended. One may be of a passing kind, such as too many open files."""
LONGEST_PAUSE = 60.0


LOOK_SECONDS = 0.5
PATIENCE_LOOKS = 2
"""How many looks in a row have to find the disk full: a job that fails for that ends by itself."""
PAUSE_SECONDS = 5.0
"""How long the end of a job may take to show on the disk, before another one is ended."""


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
        one_ended: Callable[[WorkloadKey, bool], None],
    ) -> None:
        """`lost_leadership` is called once a supervisor has met another leader.

        `one_ended` is called after each supervisor's end, with its attempt, and whether that is over and done with.
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
        key = WorkloadKey.of(job)
        if key not in self._supervisors:
            supervisor = Supervisor(
                job, self._settings, writer=self._writer, execution=self._execution_of(job), jitter=self._jitter
            )
            self._supervisors[key] = supervisor
            name = f"job {job.id}, attempt {job.attempt}"
            self._tasks[key] = asyncio.create_task(self._isolated(key, supervisor), name=name)

    def wake_if_cancelled(self, job: Job) -> None:
        """Wake the job's supervisor if its cancel request has not been seen before."""
        key = WorkloadKey.of(job)
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
            await self._failed(key)
        else:
            self._failures.forget(key)
        finally:
            self._forget(key)
            self._one_ended(key, is_over)

    async def _failed(self, key: WorkloadKey) -> None:
        """Leave the attempt alone for a while, and end it once it has failed too often."""
        verdict = self._failures.note(key)
        if verdict is not None:
            try:
                await self._give_up(key, verdict)
            except JobNotFound:
                self._failures.forget(key)
            except Exception:
                log.exception("job %s cannot be ended", key.job_id)
        await asyncio.sleep(self._failures.pause(key, self._settings.reconcile_interval))

    async def _give_up(self, key: WorkloadKey, verdict: Verdict) -> None:
        """End the attempt with `verdict`; its next supervisor removes what it left."""
        job = (await self._writer.storage.jobs.get(key.job_id)).as_of(key.attempt)
        if job.state is not State.COMPLETED:
            await end_anyway(job, verdict, writer=self._writer, execution=self._execution_of(job))

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


class Scarcity:
    """Watches the disk with the jobs' files for one leader's term."""

    def __init__(self, data: DataDirectory, ballast: Ballast, end_greediest: Callable[[], Awaitable[bool]]) -> None:
        """`end_greediest` has the running job ended that takes most of the disk, and returns whether there is one."""
        self._data = data
        self._ballast = ballast
        self._end_greediest = end_greediest

    async def run(self) -> None:
        """Watch until cancelled. A look costs a few microseconds."""
        found_full = 0
        while True:
            found_full = found_full + 1 if self._is_full() else 0
            ended = False
            if found_full >= PATIENCE_LOOKS:
                ended = await self._end_greediest()
                found_full = 0
            await asyncio.sleep(PAUSE_SECONDS if ended else LOOK_SECONDS)

    def _is_full(self) -> bool:
        """Return whether the disk has no room, or no more than what was kept back for the database."""
        return is_full(self._data.path) or self._ballast.is_missed_for(self._data.path)
