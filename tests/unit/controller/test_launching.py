"""When a job's gate is opened, while the engine has not said yet that it has started what waits there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ci_common.errors import StartFault
from ci_common.jobs import Job, State
from ci_common.system.watch import FileWatcher
from ci_common.times import utc_now
from ci_controller.execution.builtin import BuiltinExecution
from ci_controller.job_writer import JobWriter
from ci_controller.plan import MarkRunning, Start
from ci_controller.supervision.attempt_watcher import Attention
from ci_controller.supervision.launching import Launch
from ci_persistence.sqlite.repository import SQLiteJobRepository
from tests.helpers.jobs import PLENTY, bring, new_job
from tests.helpers.leading import leading
from tests.helpers.waiting import eventually


class Engine(BuiltinExecution):
    """An engine that says that it has started something when it is told to."""

    def __init__(self) -> None:
        super().__init__(utc_now)
        self.begins = asyncio.Event()
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.at_gate = False
        self.opened = asyncio.Event()

    async def start(self, job: Job) -> None:
        self.begins.set()
        await self.answer

    def is_at_gate(self, job: Job) -> bool:
        return self.at_gate

    async def open_gate(self, job: Job) -> bool:
        self.opened.set()
        return True


class Starting:
    """One job's start."""

    def __init__(self, repository: SQLiteJobRepository, writer: JobWriter, watcher: FileWatcher, job: Job) -> None:
        self.repository = repository
        self.engine = Engine()
        self.attention = Attention(self.engine, watcher)
        self.launch = Launch(writer, self.engine, self.attention, interval=60)
        self.job = job

    async def begin(self) -> "asyncio.Task[Job | None]":
        task = asyncio.create_task(self.launch.take(Start(), self.job))
        await self.engine.begins.wait()
        return task

    def come_to_gate(self) -> None:
        self.engine.at_gate = True
        self.attention.wake()

    async def runs(self) -> bool:
        return await self.state() is State.RUNNING

    async def state(self) -> State:
        return (await self.repository.get(self.job.id)).state


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Starting]:
    async with leading(tmp_path) as (repository, lease), FileWatcher() as watcher:
        job = await bring(repository, lease, await repository.add(new_job(), max_queued=PLENTY), State.STARTING)
        start = Starting(repository, JobWriter(repository, lease, utc_now), watcher, job)
        yield start
        start.attention.close()


async def test_the_gate_opens_before_the_engine_has_answered(start: Starting) -> None:
    starting = await start.begin()
    assert not start.engine.opened.is_set()
    start.come_to_gate()
    await start.engine.opened.wait()
    assert await start.state() is State.RUNNING
    assert not starting.done(), "the engine's answer is waited for"
    start.engine.answer.set_result(None)
    await starting
    assert start.launch.starts == 1


async def test_a_job_that_is_cancelled_meanwhile_does_not_begin(start: Starting) -> None:
    starting = await start.begin()
    await start.repository.request_cancel(start.job.id, utc_now())
    start.come_to_gate()
    await eventually(start.runs, "it is written that the job runs")
    start.engine.answer.set_result(None)
    await starting
    assert not start.engine.opened.is_set()


async def test_a_job_that_is_cancelled_while_it_is_marked_is_known_to_be(start: Starting) -> None:
    await start.repository.request_cancel(start.job.id, utc_now())
    row = await start.launch.take(MarkRunning(), start.job)
    assert row is not None
    assert (row.state, row.cancel_requested_time is not None) == (State.RUNNING, True)
    assert not start.engine.opened.is_set()


async def test_the_mark_of_an_earlier_one_opens_nothing(start: Starting) -> None:
    start.engine.at_gate = True
    starting = await start.begin()
    start.attention.wake()
    start.engine.answer.set_result(None)
    await starting
    assert await start.state() is State.STARTING
    assert not start.engine.opened.is_set()


async def test_a_start_that_fails_after_all_is_told_of(start: Starting) -> None:
    starting = await start.begin()
    start.come_to_gate()
    await start.engine.opened.wait()
    start.engine.answer.set_exception(StartFault("no such device"))
    with pytest.raises(StartFault):
        await starting
    assert (await start.state(), start.launch.starts) == (State.RUNNING, 0)


async def test_who_leaves_does_not_wait_for_the_engine(start: Starting) -> None:
    starting = await start.begin()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert start.engine.answer.cancelled()
