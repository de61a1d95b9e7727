"""A pool with all that it needs. The engine is played; files and database are real."""

from pathlib import Path
from typing import cast

from ci_common.errors import LeadershipLost
from ci_common.jobs import new_job_id
from ci_common.run_directory import tickets
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.watch import FileWatcher
from ci_controller.job_writer import JobWriter
from ci_controller.pool import Pool
from ci_controller.runtime.protocol import LocalRuntime, WorkloadKey, guarded
from tests.helpers.scripts import plan_of, shell_steps
from tests.helpers.waiting import eventually
from tests.helpers.waiting_runtime import WaitingRuntime

PLAN = plan_of(*shell_steps("true")).model_copy(update={"image": "one"})
OTHER = PLAN.model_copy(update={"image": "other"})


class Place:
    """A pool of three, two of a profile, with all that it needs."""

    def __init__(self, tmp_path: Path, writer: JobWriter, watcher: FileWatcher) -> None:
        self.settings = Settings.from_env(
            {
                "CI_DB_PATH": str(tmp_path / "ci.db"),
                "CI_POOL_SIZE": "3",
                "CI_POOL_PER_KEY": "2",
                "CI_MIN_FREE_BYTES": "0",
            }
        )
        self.data = DataDirectory(self.settings.data_path)
        self.data.create()
        self.runtime = WaitingRuntime()
        self.writer = writer
        self.watcher = watcher
        self.memory = 100.0
        self.leads = True
        self.pool = self.another()

    def another(self) -> Pool:
        """Return a pool as the next controller has one."""
        return Pool(
            self.settings,
            runtime=guarded(cast(LocalRuntime, self.runtime), self.check),
            data=self.data,
            writer=self.writer,
            watcher=self.watcher,
            check=self.check,
            memory_percent=lambda: self.memory,
        )

    def check(self) -> None:
        if not self.leads:
            raise LeadershipLost("another controller leads")

    async def adopt(self, pool: Pool) -> list[WorkloadKey]:
        return await pool.adopt(await self.runtime.list_workloads())

    def holder(self, workload: str) -> tuple[str, int] | None:
        """Return the attempt that has claimed the workload, by its ticket."""
        return next((each.holder for each in tickets.read(self.data.pool) if each.workload == workload), None)

    async def waiting(self, number: int, image: str = "one") -> None:
        """Return once so many of this profile wait, as the pool publishes it."""

        async def told() -> bool:
            state = await self.writer.repository.pool()
            return sum(kind.waiting for kind in state.kinds if kind.image in (image, None)) == number

        await eventually(told, f"{number} of {image} wait")

    def left_in_pool(self) -> set[str]:
        return {path.name for path in self.data.pool.iterdir()}


async def take(pool: Pool, plan: ExecutionPlan, key: WorkloadKey | None = None) -> str | None:
    """Do as an attempt that starts; return what it gets."""
    workload = await pool.claim(key or WorkloadKey(new_job_id(), 1), plan)
    return None if workload is None else workload.job_id


def make_busy_for_a_moment(pool: Pool) -> None:
    """An attempt waits for the engine, and then has started."""
    key = WorkloadKey(new_job_id(), 1)
    pool.note_starting(key)
    pool.note_started(key)


async def used(place: Place, *plans: ExecutionPlan) -> None:
    for plan in plans:
        await take(place.pool, plan)
    make_busy_for_a_moment(place.pool)
