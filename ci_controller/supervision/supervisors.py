"""The supervisors of one controller's term: one for each attempt that is not at rest, each by itself."""

import asyncio
import logging
from collections.abc import Callable

from ci_common.errors import JobNotFound, LeadershipLost
from ci_common.jobs import Job
from ci_common.settings import Settings
from ci_common.system.watch import FileWatcher
from ci_controller.execution.protocol import Execution
from ci_controller.job_writer import JobWriter
from ci_controller.policy.retry import Chance
from ci_controller.runtime.protocol import WorkloadKey
from ci_controller.supervision.failures import Failures
from ci_controller.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)

GREEDY_BYTES = 1024**2
"""A job whose files take less has not filled the disk."""
CLEARING_SECONDS = 3.0
"""How long a controller that leaves still clears what completed jobs left."""


class Supervisors:
    """See the module."""

    def __init__(
        self,
        settings: Settings,
        *,
        writer: JobWriter,
        watcher: FileWatcher,
        chance: Chance,
        execution_of: Callable[[Job], Execution],
        lost_leadership: Callable[[], None],
        one_ended: Callable[[bool], None],
    ) -> None:
        """`lost_leadership` is called once a supervisor has met another leader.

        `one_ended` is called after each one's end, and told whether its attempt is over and nothing more to be done.
        """
        self._settings = settings
        self._writer = writer
        self._watcher = watcher
        self._chance = chance
        self._execution_of = execution_of
        self._lost_leadership = lost_leadership
        self._one_ended = one_ended
        self._failures = Failures()
        self._supervisors: dict[WorkloadKey, Supervisor] = {}
        self._tasks: dict[WorkloadKey, asyncio.Task[None]] = {}
        self._holders: dict[str, WorkloadKey] = {}
        """Attempts by the waiting workloads that they took."""
        self._seen_cancels: dict[WorkloadKey, bool] = {}

    def __len__(self) -> int:
        return len(self._supervisors)

    def supervise(self, job: Job) -> None:
        """See that the attempt that `job` is at has a driver."""
        key = WorkloadKey(job.id, job.attempt)
        if job.workload is not None:
            self._holders[job.workload] = key
        if key not in self._supervisors:
            supervisor = Supervisor(
                job,
                writer=self._writer,
                execution=self._execution_of(job),
                watcher=self._watcher,
                interval=self._settings.reconcile_interval,
                grace=self._settings.stop_grace,
                chance=self._chance,
            )
            self._supervisors[key] = supervisor
            name = f"job {job.id}, attempt {job.attempt}"
            self._tasks[key] = asyncio.create_task(self._isolated(key, supervisor), name=name)

    def wake(self, key: WorkloadKey) -> None:
        """Have whoever drives this workload look soon."""
        supervisor = self._supervisors.get(self._holders.get(key.job_id, key))
        if supervisor is not None:
            supervisor.wake()

    def wake_if_cancelled(self, job: Job) -> None:
        """Have the job's supervisor look soon if its cancel request has not been seen before."""
        key = WorkloadKey(job.id, job.attempt)
        cancelled = job.cancel_requested_time is not None
        if cancelled and not self._seen_cancels.get(key, False):
            self._supervisors[key].wake()
        self._seen_cancels[key] = cancelled

    def hurry(self, job_id: str) -> bool:
        """Tell whether the job has a supervisor, and have it look at once whether its row is still there."""
        own = [supervisor for key, supervisor in self._supervisors.items() if key.job_id == job_id]
        for supervisor in own:
            supervisor.wake()
        return bool(own)

    def use(self, runtime: str) -> bool:
        """Tell whether some attempt runs there."""
        return any(supervisor.runtime_name == runtime for supervisor in self._supervisors.values())

    async def end_greediest(self) -> bool:
        """Have the running job ended whose files take most of the disk; tell whether there is one that takes some."""
        taken = [(await supervisor.taken(), supervisor) for supervisor in list(self._supervisors.values())]
        most, greediest = max(taken, key=lambda each: each[0], default=(0, None))
        if greediest is None or most < GREEDY_BYTES:
            return False
        greediest.end_for_room()
        return True

    async def _isolated(self, key: WorkloadKey, supervisor: Supervisor) -> None:
        """What goes wrong with one job stops no other; the next full look gives it a new supervisor."""
        is_over = False
        try:
            await supervisor.run()
            is_over = supervisor.is_clearing
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
        for workload in [workload for workload, holder in self._holders.items() if holder == key]:
            del self._holders[workload]

    async def dismiss(self) -> None:
        """Leave jobs that have not completed as they are; those that have are cleared, within a bounded time."""
        tasks = dict(self._tasks)
        clearing = {tasks[key] for key, supervisor in self._supervisors.items() if supervisor.is_clearing}
        for task in set(tasks.values()) - clearing:
            task.cancel()
        for supervisor in self._supervisors.values():
            supervisor.wake()  # Nobody hears the engine any more: what is to go by itself is not waited for.
        if clearing:
            await asyncio.wait(clearing, timeout=CLEARING_SECONDS)
        for task in clearing:
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
