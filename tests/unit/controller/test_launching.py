"""When a job's gate is opened, while the engine has not answered yet that it has started what waits there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from ci_common.jobs import Job, State
from ci_common.runtime_faults import StartFault
from ci_common.settings import Settings
from ci_common.times import utc_now
from ci_controller.execution.builtin import BuiltinExecution
from ci_controller.execution.protocol import Wakeups
from ci_controller.job_writer import JobWriter
from ci_controller.policy import Observation, WorkloadPhase
from ci_controller.supervision.supervisor import Supervisor
from ci_persistence.storage import Storage
from tests.helpers.installation import leading
from tests.helpers.jobs import PLENTY, bring, new_job
from tests.helpers.waiting import eventually

SETTINGS = Settings(reconcile_interval=60, stop_grace=1)


class Engine(BuiltinExecution):
    """Answers that it has started something when it is told to; until then it says that nothing was started."""

    def __init__(self) -> None:
        super().__init__(utc_now)
        self.begins = asyncio.Event()
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.at_gate = False
        self.opened = asyncio.Event()
        self.woken = asyncio.Event()
        self.observed = asyncio.Event()

    async def observe(self, job: Job, *, measure: bool = False) -> Observation:
        self.observed.set()
        if job.state is State.RUNNING and self.opened.is_set():
            return Observation(WorkloadPhase.RUNNING, started=True)
        if job.state is State.COMPLETED:
            return Observation(WorkloadPhase.ABSENT)
        return Observation(WorkloadPhase.AT_GATE if self.answer.done() and self.at_gate else WorkloadPhase.CREATED)

    async def start(self, job: Job) -> None:
        self.begins.set()
        await self.answer

    async def release_gate(self, job: Job) -> bool:
        self.opened.set()
        return True

    @asynccontextmanager
    async def events(self, job: Job) -> AsyncIterator[Wakeups]:
        yield self

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        self.woken.clear()

    def wake(self) -> None:
        self.woken.set()

    def peek(self, job: Job) -> WorkloadPhase | None:
        return WorkloadPhase.AT_GATE if self.at_gate else None

    def come_to_gate(self) -> None:
        self.at_gate = True
        self.wake()


class Starting:
    """One job's start."""

    def __init__(self, storage: Storage, writer: JobWriter, job: Job) -> None:
        self.storage = storage
        self.engine = Engine()
        self.supervisor = Supervisor(job, SETTINGS, writer=writer, execution=self.engine, jitter=lambda: 0.0)
        self.job = job
        self.task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self.task = asyncio.create_task(self.supervisor.run())
        await self.engine.begins.wait()

    async def row(self) -> Job:
        return await self.storage.jobs.get(self.job.id)

    async def runs(self) -> bool:
        return (await self.row()).state is State.RUNNING


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Starting]:
    async with leading(tmp_path) as (storage, lease):
        job = await bring(storage, lease, await storage.jobs.add(new_job(), max_queued=PLENTY), State.STARTING)
        start = Starting(storage, JobWriter(storage, lease, utc_now), job)
        yield start
        if start.task is not None:
            start.task.cancel()
            await asyncio.gather(start.task, return_exceptions=True)


async def test_the_gate_opens_before_the_engine_has_answered(start: Starting) -> None:
    await start.begin()
    assert not start.engine.opened.is_set()
    start.engine.come_to_gate()
    await start.engine.opened.wait()
    assert await start.runs()
    assert not start.engine.answer.done(), "the engine's answer is still to come"


async def test_a_job_that_is_cancelled_while_it_starts_does_not_begin(start: Starting) -> None:
    await start.begin()
    await start.storage.jobs.request_cancel(start.job.id, utc_now())
    start.engine.come_to_gate()
    await eventually(start.runs, "it is written that the job runs")
    assert not start.engine.opened.is_set()


async def test_the_mark_of_an_earlier_one_opens_nothing(start: Starting) -> None:
    start.engine.at_gate = True
    await start.begin()
    start.engine.wake()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not start.engine.opened.is_set()
    start.engine.answer.set_result(None)
    start.engine.wake()
    await start.engine.opened.wait()


async def test_a_start_that_fails_after_all_changes_nothing_for_a_job_that_has_begun(start: Starting) -> None:
    """What the next observation shows decides."""
    await start.begin()
    start.engine.come_to_gate()
    await start.engine.opened.wait()
    start.engine.observed.clear()
    start.engine.answer.set_exception(StartFault("no such device"))
    start.engine.wake()
    await start.engine.observed.wait()
    assert await start.runs()
    assert start.task is not None
    assert not start.task.done()


async def test_a_controller_that_stops_does_not_wait_for_the_engine(start: Starting) -> None:
    await start.begin()
    assert start.task is not None
    start.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start.task
    assert start.engine.answer.cancelled()
