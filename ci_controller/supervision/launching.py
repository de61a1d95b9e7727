"""How what an attempt runs in comes up, and how its gate is opened: the steps of `plan` up to the job's own code."""

import asyncio

from ci_common.jobs import Job, State
from ci_common.times import Milestone
from ci_controller import plan as steps
from ci_controller.execution.protocol import Execution
from ci_controller.job_time import start_of_run
from ci_controller.job_writer import JobWriter
from ci_controller.supervision.attempt_watcher import Attention

Launching = (
    steps.Create | steps.Start | steps.Discard | steps.MoveIn | steps.MoveInRunning | steps.MarkRunning | steps.OpenGate
)

GATE_GLANCE_SECONDS = 0.25
"""How long what has been started may take to its gate before the engine is asked what became of it."""


class Launch:
    """One attempt's way to its own code.

    Steps return the row where it need not be read again, and raise what `Execution` and `JobWriter.write` raise.
    """

    def __init__(self, writer: JobWriter, execution: Execution, attention: Attention, *, interval: float) -> None:
        """`interval`: how many seconds to wait at most, whatever tells of changes."""
        self._writer = writer
        self._execution = execution
        self._attention = attention
        self._interval = interval
        self.starts = 0
        """How often what it runs in has been started here."""

    async def take(self, action: Launching, job: Job) -> Job | None:
        """Take one step."""
        match action:
            case steps.Create():
                await self._execution.create(job)
                self._note(job, Milestone.CREATED)
                return job  # A request to cancel it is seen when it is marked as running.
            case steps.Start():
                row = await self._start(job)
                self.starts += 1
                return row
            case steps.Discard():
                await self._execution.discard(job)
            case steps.MoveIn():
                await self._move_in(job)
                return job
            case steps.MoveInRunning():
                return await self._move_in_running(job)
            case steps.MarkRunning():
                return await self._run_at_gate(job)
            case steps.OpenGate():
                await self._open_gate(job)
        return None

    async def _start(self, job: Job) -> Job | None:
        """Start it, and let the job run as soon as it is at its gate: the engine tells of the start some time later."""
        was_there = self._execution.is_at_gate(job)  # Then that is the mark of an earlier one, which is gone.
        starting, row = asyncio.ensure_future(self._execution.start(job)), None
        self._attention.wake_after(starting)
        try:
            while not starting.done() and (was_there or not self._execution.is_at_gate(job)):
                await self._attention.wait(self._interval)
            if not starting.done():
                row = await self._run_at_gate(job)
            await starting
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        await self._attention.until(lambda: self._execution.is_at_gate(job), GATE_GLANCE_SECONDS)
        return row

    async def _run_at_gate(self, job: Job) -> Job | None:
        self._note(job, Milestone.AT_GATE)
        return await self._let_run(await self._mark_running(job))

    async def _move_in_running(self, job: Job) -> Job | None:
        both = self._mark_running(job), self._move_in(job)
        # Neither is left alone where the other fails.
        running, is_own = await asyncio.gather(*both, return_exceptions=True)
        if isinstance(running, BaseException):
            raise running
        if isinstance(is_own, BaseException):
            raise is_own
        return await self._let_run(running) if is_own else None

    async def _move_in(self, job: Job) -> bool:
        if is_own := await self._execution.move_in(job):
            self._note(job, Milestone.MOVED_IN)
            self._note(job, Milestone.AT_GATE)
        return is_own

    async def _mark_running(self, job: Job) -> Job:
        begun = start_of_run(self._writer.clock, self._writer.uptime)
        return await self._writer.write(job, state=State.RUNNING, reason=None, **begun)

    async def _let_run(self, job: Job) -> Job | None:
        if job.cancel_requested_time is not None:
            return job
        self._attention.watch(job)
        self._attention.was_woken.clear()
        await self._open_gate(job)
        return job if await self._attention.glance(job) else None

    async def _open_gate(self, job: Job) -> None:
        if await self._execution.open_gate(job):
            self._note(job, Milestone.GATE_OPENED)

    def _note(self, job: Job, milestone: Milestone) -> None:
        self._writer.timelines.of(job).note(milestone)
