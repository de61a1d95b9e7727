"""A pool with all that it needs. The engine is played; files and database are real."""

from pathlib import Path
from typing import cast

from ci_common.errors import LeadershipLost
from ci_common.jobs import Job, NewJob, StartWay, State, new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.watch import FileWatcher
from ci_common.times import utc_now
from ci_controller.job_writer import JobWriter
from ci_controller.pool import Handover, Pool
from ci_controller.runtime.guarded import GuardedRuntime
from ci_controller.runtime.protocol import Runtime
from tests.helpers.scripts import plan_of, shell_steps
from tests.helpers.waiting import eventually
from tests.helpers.waiting_runtime import WaitingRuntime

PLAN = plan_of(*shell_steps("true")).model_copy(update={"image": "one"})
OTHER = PLAN.model_copy(update={"image": "other"})


class Place:
    """A pool of three, two of a kind, with all that it needs."""

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
            runtime=GuardedRuntime(cast(Runtime, self.runtime), self.check),
            data=self.data,
            writer=self.writer,
            watcher=self.watcher,
            check=self.check,
            memory_percent=lambda: self.memory,
        )

    def handover(self, pool: Pool) -> Handover:
        return Handover(pool, self.writer)

    def check(self) -> None:
        if not self.leads:
            raise LeadershipLost("somebody else leads")

    async def sort(self, pool: Pool) -> tuple[list[Job], list[str]]:
        held, strangers = await self.handover(pool).sort(await self.runtime.list_workloads())
        return held, [sighting.key.job_id for sighting in strangers]

    async def starting(self, workload: str) -> Job:
        """Store a job that took this workload."""
        repository = self.writer.repository
        job = await repository.add(NewJob(id=new_job_id(), type="container", submit_time=utc_now()), max_queued=100)
        return await self.writer.write(job, state=State.STARTING, workload=workload, start_way=StartWay.WARM)

    async def waiting(self, number: int, image: str = "one") -> None:
        """Return once so many of this kind wait, by the pool's own word."""

        async def told() -> bool:
            state = await self.writer.repository.pool()
            return sum(kind.waiting for kind in state.kinds if kind.image in (image, None)) == number

        await eventually(told, f"{number} of {image} wait")


async def take(pool: Pool, plan: ExecutionPlan) -> str | None:
    """Do as the scheduler does for a job that starts."""
    kind = await pool.kind_of(plan)
    return None if kind is None else pool.take(kind, plan)


async def used(place: Place, *plans: ExecutionPlan) -> None:
    for plan in plans:
        await take(place.pool, plan)
    place.pool.note_load(busy=True)
    place.pool.note_load(busy=False)
