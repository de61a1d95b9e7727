"""An execution without an engine: the test lets attempts go on, end and get lost, and the real supervisor drives them.

What a controller does is a sequence of effects, each of which is handed to `Controller.carry_out`: a controller can die
before any of them, or be stopped in front of one and carry it out when another controller has led for long.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ci_common.errors import LeadershipLost
from ci_common.jobs import Conclusion, Job, State
from ci_common.run_directory.exits import ExitRecord
from ci_controller.execution.protocol import Collected, Scope, Wakeups
from ci_controller.policy import Observation, WorkloadPhase
from ci_controller.runtime.protocol import WorkloadKey

_NO_LOG = hashlib.sha256().hexdigest()
_STARTED = (WorkloadPhase.BOOTING, WorkloadPhase.AT_GATE, WorkloadPhase.RUNNING)
MOST_SHORT_WAITS = 3
"""A supervisor that waits for less than a second is not held up, but for so many times in a row at most."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time can be moved on."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped


@dataclass
class FakeWorkload:
    """What runs an attempt."""

    phase: WorkloadPhase = WorkloadPhase.CREATED
    exit_code: int | None = None
    told_to_end: bool = False

    def end(self, code: int) -> None:
        self.phase, self.exit_code = WorkloadPhase.EXITED, code


@dataclass
class FakeAttempt:
    """One attempt: its files and what runs it."""

    files: bool = False
    started: bool = False
    exit: ExitRecord | None = None
    workload: FakeWorkload | None = None
    lost: bool = False
    """Its workload was killed or removed from outside."""


@dataclass
class FakeEngine:
    """Where the attempts of one job run. All controllers see the same one."""

    code: int | None
    """How the job's own code ends; None for one that goes on until it is stopped."""
    attempts: dict[int, FakeAttempt] = field(default_factory=dict)
    code_starts: Counter[int] = field(default_factory=Counter)
    """How often the code of each attempt has begun."""
    row: Job | None = None
    """The row as last committed, to check that a gate opens only after RUNNING was."""

    def attempt(self, number: int) -> FakeAttempt:
        return self.attempts.setdefault(number, FakeAttempt())

    def progress(self) -> None:
        """Let every script go as far as it can."""
        for attempt in self.attempts.values():
            workload = attempt.workload
            if workload is None:
                continue
            if workload.phase is WorkloadPhase.BOOTING:
                workload.phase = WorkloadPhase.AT_GATE
            elif workload.phase is WorkloadPhase.RUNNING and attempt.exit is not None:
                workload.end(attempt.exit.code)
            elif workload.phase is WorkloadPhase.RUNNING and (self.code is not None or workload.told_to_end):
                code = 143 if self.code is None else self.code
                attempt.exit = ExitRecord(code, terminated=workload.told_to_end, oom_kills=0, last=True)

    def lose_workload(self, number: int, *, removed: bool) -> None:
        """Kill what runs an attempt from outside, and with `removed` remove it too."""
        attempt = self.attempt(number)
        if attempt.workload is not None and attempt.workload.phase is not WorkloadPhase.EXITED:
            attempt.lost = True
            attempt.workload.end(137)
        if removed:
            attempt.workload = None

    def is_empty(self) -> bool:
        """Return whether no attempt has files or anything that runs it."""
        return all(attempt.workload is None and not attempt.files for attempt in self.attempts.values())

    # The effects of a controller.

    def make_files(self, attempt: FakeAttempt) -> None:
        attempt.files = True

    def create(self, attempt: FakeAttempt) -> None:
        attempt.workload = attempt.workload or FakeWorkload()

    def discard(self, attempt: FakeAttempt, workload: FakeWorkload) -> None:
        if attempt.workload is workload and workload.phase is WorkloadPhase.EXITED:
            attempt.workload = None

    def start(self, attempt: FakeAttempt) -> None:
        if attempt.workload is not None and attempt.workload.phase is WorkloadPhase.CREATED:
            attempt.workload.phase = WorkloadPhase.BOOTING

    def open_gate(self, number: int) -> None:
        attempt = self.attempt(number)
        workload = attempt.workload
        if not attempt.files or workload is None or workload.phase is not WorkloadPhase.AT_GATE:
            return
        if attempt.started:  # The script refuses to run twice.
            workload.end(1)
            return
        assert self.row is not None, "a row comes before its gate"
        was_committed = self.row.attempt > number or self.row.state in (State.RUNNING, State.COMPLETED)
        assert was_committed, "the gate opens only once it is committed that the job runs"
        attempt.started, workload.phase = True, WorkloadPhase.RUNNING
        self.code_starts[number] += 1

    def stop(self, attempt: FakeAttempt) -> None:
        workload = attempt.workload
        if workload is not None and workload.phase is WorkloadPhase.RUNNING:
            workload.told_to_end = True
        elif workload is not None and workload.phase in _STARTED:
            workload.end(143)

    def kill(self, attempt: FakeAttempt) -> None:
        if attempt.workload is not None and attempt.workload.phase in _STARTED:
            attempt.workload.end(137)

    def remove(self, attempt: FakeAttempt) -> None:
        attempt.workload = None

    def clear(self, attempt: FakeAttempt) -> None:
        attempt.files = attempt.started = False
        attempt.exit = None


class Controller:
    """One controller process: it lives, dies before an effect, or is stopped in front of one and goes on later."""

    def __init__(self, *, effects: int | None = None, goes_on_later: bool = False) -> None:
        """It carries out so many effects, or any number of them; then it dies, or is stopped."""
        self._effects = effects
        self._goes_on_later = goes_on_later
        self._leads = True
        self._go_on = asyncio.Event()
        self.is_dead = False
        self.is_stopped = False

    async def carry_out(self, effect: Callable[[], Awaitable[object] | None]) -> object:
        """Carry out an effect, unless this is where the controller ends."""
        if not self._leads:
            raise LeadershipLost("another controller leads")
        if self.is_dead:
            raise asyncio.CancelledError
        if self._effects == 0:
            if not self._goes_on_later:
                self.is_dead = True
                raise asyncio.CancelledError
            self.is_stopped = True
            await self._go_on.wait()
            self._leads = False
        elif self._effects is not None:
            self._effects -= 1
        outcome = effect()
        return outcome if outcome is None else await outcome

    def go_on(self) -> None:
        """Let one that is stopped carry out the effect that it was stopped in front of."""
        self.is_stopped = False
        self._go_on.set()


class FakeExecution:
    """The attempts on a `FakeEngine`, as an `Execution`, for one controller."""

    runtime_name = "fake"

    def __init__(self, engine: FakeEngine, controller: Controller) -> None:
        self._engine = engine
        self._controller = controller
        self.wakeups: set[FakeWakeups] = set()

    async def prepare(self, job: Job) -> None:
        attempt = self._engine.attempt(job.attempt)
        former = attempt.workload
        if former is not None and former.phase is WorkloadPhase.EXITED:
            await self._controller.carry_out(lambda: self._engine.discard(attempt, former))
        await self._controller.carry_out(lambda: self._engine.make_files(attempt))
        await self._controller.carry_out(lambda: self._engine.create(attempt))

    async def start(self, job: Job) -> None:
        attempt = self._engine.attempt(job.attempt)
        await self._controller.carry_out(lambda: self._engine.start(attempt))

    async def observe(self, job: Job, *, measure: bool = False) -> Observation:
        attempt = self._engine.attempt(job.attempt)
        phase = WorkloadPhase.ABSENT if attempt.workload is None else attempt.workload.phase
        if job.state is State.RUNNING and attempt.exit is not None:
            phase = WorkloadPhase.FINISHED
        return Observation(
            phase,
            exit=attempt.exit,
            started=attempt.started,
            workload_exit_code=None if attempt.workload is None else attempt.workload.exit_code,
            cleaned=job.state is not State.COMPLETED or not attempt.files,
        )

    async def release_gate(self, job: Job) -> bool:
        attempt = self._engine.attempt(job.attempt)
        had_begun = attempt.started
        await self._controller.carry_out(lambda: self._engine.open_gate(job.attempt))
        if not attempt.started:
            await self._hold(lambda: True)  # A real one gives the script about a second.
        return attempt.started and not had_begun

    async def stop(self, job: Job, grace: float) -> None:
        attempt = self._engine.attempt(job.attempt)
        await self._controller.carry_out(lambda: self._engine.stop(attempt))
        await self._hold(lambda: attempt.workload is None or attempt.workload.phase not in _STARTED)

    async def collect(self, job: Job, conclusion: Conclusion | None = None) -> Collected:
        return Collected(0, _NO_LOG)

    async def clean_up(self, job: Job, scope: Scope = Scope.ALL) -> None:
        attempt = self._engine.attempt(job.attempt)
        await self._controller.carry_out(lambda: self._engine.kill(attempt))
        if scope is Scope.WORKSPACE:
            return
        await self._controller.carry_out(lambda: self._engine.remove(attempt))
        if scope is Scope.ALL:
            await self._controller.carry_out(lambda: self._engine.clear(attempt))

    async def list(self) -> Collection[WorkloadKey]:
        return [WorkloadKey("", number) for number, attempt in self._engine.attempts.items() if attempt.workload]

    async def _hold(self, is_over: Callable[[], bool]) -> None:
        """Wait until the test lets the controller go on, and further until `is_over`."""
        wakeups = FakeWakeups(self._engine)
        self.wakeups.add(wakeups)
        try:
            while True:
                await wakeups.wait(1)
                if is_over():
                    break
        finally:
            self.wakeups.discard(wakeups)

    @asynccontextmanager
    async def events(self, job: Job) -> AsyncIterator[Wakeups]:
        wakeups = FakeWakeups(self._engine)
        self.wakeups.add(wakeups)
        try:
            yield wakeups
        finally:
            self.wakeups.discard(wakeups)


class FakeWakeups:
    """Holds a supervisor up until the test wakes it. Short waits end at once, and move the loop's time on."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._woken = asyncio.Event()
        self._short = 0
        self.is_waiting = False

    async def wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop), "the fake execution moves the loop's time on"
        if seconds < 1 and self._short < MOST_SHORT_WAITS:
            self._short += 1
            loop.skipped += seconds
            await asyncio.sleep(0)
            return
        self._short = 0
        self.is_waiting = True
        await self._woken.wait()
        self.is_waiting = False
        self._woken.clear()

    def wake(self) -> None:
        self.is_waiting = False
        self._woken.set()

    def peek(self, job: Job) -> WorkloadPhase | None:
        attempt = self._engine.attempt(job.attempt)
        if attempt.exit is not None:
            return WorkloadPhase.FINISHED
        if attempt.started:
            return WorkloadPhase.RUNNING
        at_gate = attempt.workload is not None and attempt.workload.phase is WorkloadPhase.AT_GATE
        return WorkloadPhase.AT_GATE if at_gate else None
