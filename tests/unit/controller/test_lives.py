"""Whatever fails and whenever, the supervisor brings every job to a true end.

The supervisor, the plan and the database are real; what runs the attempts is `tests.helpers.fake_execution`.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_common.errors import StaleWrite
from ci_common.jobs import Conclusion, Job, NewJob, ReasonCode, State, new_job_id
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, PlannedStep, Retry
from ci_controller.job_writer import JobWriter
from ci_controller.plan import Complete, MarkStarting, plan, retry_of
from ci_controller.policy import Observation, WorkloadPhase
from ci_controller.supervision.completion import complete
from ci_controller.supervision.supervisor import Supervisor
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.helpers.fake_execution import Controller, FakeEngine, FakeExecution, VirtualTimeLoop
from tests.helpers.installation import leading

pytestmark = pytest.mark.slow

T0 = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(seconds=5)
TIMEOUT = 100.0
MOST_STEPS = 300
"""More than any job takes to its end, with all its attempts, once nothing goes wrong any more."""
QUIET_TURNS = 5
"""Turns of the event loop without anything to do, after which nothing is left to do."""
MOST_STOPPED = 2
"""Controllers that are stopped at the same time."""


class Rows:
    """The storage of one controller, which uses only the jobs of it: reads are free, writes are effects."""

    def __init__(self, storage: Storage, engine: FakeEngine, controller: Controller) -> None:
        self.jobs = self
        self._jobs = storage.jobs
        self._engine = engine
        self._controller = controller

    async def get(self, job_id: str) -> Job:
        return await self._jobs.get(job_id)

    async def update(self, job: Job, lease: Lease, **changes: Any) -> Job:
        async def write() -> Job:
            self._engine.row = await self._jobs.update(job, lease, **changes)
            return self._engine.row

        written = await self._controller.carry_out(write)
        assert isinstance(written, Job)
        return written


@dataclass(eq=False)
class Process:
    """A controller with its supervisors, one for each attempt."""

    controller: Controller
    execution: FakeExecution
    writer: JobWriter
    supervisors: dict[int, "asyncio.Task[None]"] = field(default_factory=dict)

    def is_busy(self) -> bool:
        """Return whether it does anything without a further word of the test."""
        if self.controller.is_stopped:
            return False
        running = sum(not task.done() for task in self.supervisors.values())
        return sum(wakeups.is_waiting for wakeups in self.execution.wakeups) < running

    async def settled(self) -> None:
        """Return once it does nothing without a further word of the test; what a task's end sets off comes first."""
        quiet = 0
        while quiet < QUIET_TURNS:
            quiet = 0 if self.is_busy() else quiet + 1
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.supervisors.values():
            task.cancel()
        await asyncio.gather(*self.supervisors.values(), return_exceptions=True)


@dataclass
class Life:
    """One job, from its submission until nothing is left of it, and what was seen of it on the way."""

    storage: Storage
    lease: Lease
    engine: FakeEngine
    job_id: str
    now: datetime = T0
    process: Process = field(init=False)
    stopped: list[Process] = field(default_factory=list)
    exits: dict[int, int] = field(default_factory=dict)
    """What the scripts wrote by themselves. Their files go once the attempt has ended."""
    cancelled_in_time: bool = False
    """The job was cancelled before its first attempt was to run."""

    def __post_init__(self) -> None:
        self.process = self.begin()

    def begin(self, **ends: Any) -> Process:
        """Start a controller."""
        controller = Controller(**ends)
        rows = Rows(self.storage, self.engine, controller)
        uptime = lambda: (self.now - T0).total_seconds()  # noqa: E731
        writer = JobWriter(rows, self.lease, lambda: self.now, uptime)  # type: ignore[arg-type]
        return Process(controller, FakeExecution(self.engine, controller), writer)

    async def row(self) -> Job:
        self.engine.row = await self.storage.jobs.get(self.job_id)
        return self.engine.row

    async def step(self) -> bool:
        """Let the controller go on until it waits; return whether nothing is left to do."""
        process = self.process
        row = await self.row()
        queued = asyncio.create_task(self._schedule(row, process)) if row.state is State.QUEUED else None
        self._supervise(row, process)
        for wakeups in process.execution.wakeups:
            wakeups.wake()
        if queued is not None:
            while not (queued.done() or process.controller.is_stopped):
                await asyncio.sleep(0)
        await process.settled()
        if queued is not None:
            process.supervisors[0] = queued
        if process.controller.is_dead:
            await process.end()
            self.process = self.begin()
        elif process.controller.is_stopped:
            self.stopped.append(process)
            self.process = self.begin()
        for task in process.supervisors.values():
            if task.done() and not task.cancelled() and (fault := task.exception()) is not None:
                raise fault
        row = await self.row()
        over = all(task.done() for task in process.supervisors.values())
        return row.state is State.COMPLETED and over and process is self.process and self.engine.is_empty()

    async def _schedule(self, row: Job, process: Process) -> None:
        """Do what the scheduler does with a job that is alone in the queue."""
        seen = Observation(WorkloadPhase.ABSENT)
        try:
            match plan(row, seen, self.now, retry=retry_of(row)):
                case MarkStarting():
                    await process.writer.write(row, state=State.STARTING, runtime="fake", reason=None, not_before=None)
                case Complete(verdict):
                    await complete(row, verdict, writer=process.writer, execution=process.execution)
        except StaleWrite:
            pass

    def _supervise(self, row: Job, process: Process) -> None:
        for number in range(1, row.attempt + 1):
            known = process.supervisors.get(number)
            if (known is None or known.done()) and not (number == row.attempt and row.state is State.QUEUED):
                own = row.as_of(number)
                writer, execution = process.writer, process.execution
                supervisor = Supervisor(own, Settings(), writer=writer, execution=execution, jitter=lambda: 0.5)
                process.supervisors[number] = asyncio.create_task(supervisor.run())

    async def controller_ends(self, effects: int, *, goes_on_later: bool = False) -> None:
        """Let another controller lead that dies, or is stopped, after so many effects."""
        if goes_on_later and len(self.stopped) >= MOST_STOPPED:
            return
        await self.process.end()
        self.process = self.begin(effects=effects, goes_on_later=goes_on_later)
        await self.step()

    async def go_on(self) -> None:
        """Let a stopped controller carry out the effect that it was stopped in front of, and nothing more."""
        if self.stopped:
            process = self.stopped.pop(0)
            process.controller.go_on()
            for wakeups in process.execution.wakeups:
                wakeups.wake()
            await process.settled()
            await process.end()

    async def script(self) -> None:
        self.engine.progress()
        for number, attempt in self.engine.attempts.items():
            if attempt.exit is not None and not attempt.exit.terminated:
                self.exits[number] = attempt.exit.code

    async def cancel(self) -> None:
        row = await self.row()
        if row.state is State.COMPLETED:
            return
        if row.cancel_requested_time is None and row.state in (State.QUEUED, State.STARTING):
            self.cancelled_in_time = row.attempt == 1
        await self.storage.jobs.request_cancel(self.job_id, self.now)

    async def lose_workload(self, *, removed: bool) -> None:
        self.engine.lose_workload((await self.row()).attempt, removed=removed)

    async def wait(self, time: timedelta) -> None:
        self.now += time

    async def come_to_its_end(self) -> None:
        while self.stopped:
            await self.go_on()
        for _ in range(MOST_STEPS):
            if await self.step():
                return
            await self.script()
            self.now += TICK
        raise AssertionError(f"the job does not come to its end: {await self.row()} {self.engine}")


Event = Callable[[Life], Awaitable[object]]


def event(name: str, happens: Event) -> Event:
    """Return an event that shows its name where a failing example is printed."""
    happens.__qualname__ = happens.__name__ = name
    return happens


EVENTS: list[Event] = [
    *[event("the controller goes on", lambda life: life.step())] * 6,
    *[event("the script goes on", lambda life: life.script())] * 3,
    *[
        event(f"the controller dies after {n} effects", lambda life, n=n: life.controller_ends(n))  # type: ignore[misc]
        for n in (0, 1, 2, 3, 5)
    ],
    *[
        event(
            f"the controller is stopped after {n} effects",
            lambda life, n=n: life.controller_ends(n, goes_on_later=True),  # type: ignore[misc]
        )
        for n in (0, 1, 2, 3, 5)
    ],
    *[event("a stopped controller goes on", lambda life: life.go_on())] * 2,
    event("the job is cancelled", lambda life: life.cancel()),
    event("the workload ends", lambda life: life.lose_workload(removed=False)),
    event("the workload goes", lambda life: life.lose_workload(removed=True)),
    event("time passes", lambda life: life.wait(30 * TICK)),
]


@settings(max_examples=100, deadline=None)
@given(
    code=st.sampled_from([None, 0, 3]),
    attempts=st.integers(1, 3),
    events=st.lists(st.sampled_from(EVENTS), min_size=12, max_size=40),
)
def test_every_life_ends_well(code: int | None, attempts: int, events: list[Event]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(live(code, attempts, events))


async def live(code: int | None, attempts: int, events: list[Event]) -> None:
    retry = Retry(max_attempts=attempts)
    steps = (PlannedStep(name="step", shell="true"),)
    job = NewJob(
        id=new_job_id(),
        type="container",
        submit_time=T0,
        max_attempts=attempts,
        plan=ExecutionPlan(image="none", steps=steps, timeout=TIMEOUT, retry=retry).model_dump(mode="json"),
    )
    with tempfile.TemporaryDirectory() as name:
        async with leading(Path(name)) as (storage, lease):
            await storage.jobs.add(job, max_queued=1)
            life = Life(storage, lease, FakeEngine(code), job.id)
            for happens in events:
                await happens(life)
            await life.come_to_its_end()
            await life.process.end()
            check(life, await life.row(), attempts)


def check(life: Life, row: Job, attempts: int) -> None:
    engine = life.engine
    assert all(times == 1 for times in engine.code_starts.values()), "the code of an attempt ran twice"
    assert engine.is_empty(), "something is left"
    assert row.attempt <= attempts
    for number in range(1, row.attempt + 1):
        check_attempt(life, row.as_of(number), number)
    if life.cancelled_in_time:
        assert not engine.code_starts, "the job began although it was cancelled"
        assert row.conclusion in (Conclusion.CANCELLED, Conclusion.ERRORED)


def check_attempt(life: Life, job: Job, number: int) -> None:
    """Check that an attempt ended as its script says, or else as what happened to it."""
    if number in life.exits:
        assert job.exit_code == life.exits[number], "the result is not what the script wrote"
        assert job.conclusion is (Conclusion.FAILED if job.exit_code else Conclusion.SUCCEEDED)
    elif job.conclusion is Conclusion.ERRORED:
        assert job.reason is not None
        codes = (ReasonCode.CONTAINER_LOST, ReasonCode.START_FAILED)
        assert job.reason.code in codes
        assert life.engine.attempt(number).lost or job.reason.code is ReasonCode.START_FAILED
