"""Lets workloads exit whose jobs have ended, and waits until the engine says that they have.

A script that is the last of its job's processes stays at its gate until that is opened once more (ADR 27).
"""

import asyncio
from contextlib import ExitStack, suppress

from ci_common.jobs import Job
from ci_common.run_directory.layout import RunDirectory
from ci_controller.execution.files import Observer
from ci_controller.execution.preparing import GONE
from ci_controller.run_directory import preparation
from ci_controller.runtime.protocol import Check, LocalRuntime, WorkloadKey

EXIT_SECONDS = 1.0
"""How long what ran a job that has completed may take to go by itself, before it is stopped.

An engine that is busy takes its time to tell; a stop would only give it more to do.
"""
ASK_SECONDS = 0.2
"""How long to wait for the engine to tell of that, before it is asked: what it tells may be lost."""


class Exits:
    """The exits of one runtime's workloads."""

    def __init__(self, runtime: LocalRuntime, observer: Observer, check: Check) -> None:
        """`check` is called before a gate is opened, and may forbid it by raising."""
        self._runtime = runtime
        self._observer = observer
        self._check = check
        self._kept: dict[WorkloadKey, ExitStack] = {}
        """The exits that stay allowed, of attempts whose verdict needs the engine's word, too."""

    def allowed(self, run: RunDirectory) -> ExitStack:
        """Return a context: while it is open, a workload that stays after its job has finished may exit."""
        self._check()
        stack = ExitStack()
        # No other stays; and what has not begun would begin by this.
        if self._runtime.has_console and run.is_started():
            with suppress(OSError):  # Where the gate has gone, nothing stays at it.
                stack.enter_context(preparation.opened_gate(run))
        return stack

    def allow(self, key: WorkloadKey, run: RunDirectory) -> None:
        """Let the attempt's workload exit until `end` is called. May be repeated."""
        if key not in self._kept:
            self._kept[key] = self.allowed(run)

    def end(self, key: WorkloadKey) -> None:
        """Close the gate that `allow` has opened, if it has."""
        if (allowed := self._kept.pop(key, None)) is not None:
            allowed.close()

    async def has_gone(self, job: Job, run: RunDirectory, workload: WorkloadKey, heard: asyncio.Event) -> bool:
        """Return whether the engine says that nothing of a completed attempt runs any more.

        What has said that its job has ended may exit for that. A job can write what its script writes, and the engine
        tells of other things than an end: that `heard` is set is only the moment to ask it.
        """
        if self._observer.finished(job, run) is None:
            return (await self._observer.look(job, run, workload)).phase in GONE
        clock = asyncio.get_running_loop().time
        until = clock() + EXIT_SECONDS
        if job.stop_code is None:  # Else it has been waited for already.
            heard.clear()
        with self.allowed(run):
            while (left := until - clock()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(ASK_SECONDS, left)):
                        await heard.wait()
                heard.clear()
                if (await self._runtime.look(workload)).phase in GONE:
                    return True
        return False
