"""Whether what ran a completed job is stopped before its files are removed: the engine has to say that it ended."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast
from unittest.mock import create_autospec

import pytest

from ci_common.jobs import Conclusion, Job, ReasonCode, State, new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.disk import Ballast
from ci_common.system.trees import delete_tree
from ci_common.system.watch import FileWatcher
from ci_common.times import utc_now
from ci_controller.execution import exits
from ci_controller.execution.workloads import WorkloadExecution
from ci_controller.policy import WorkloadPhase
from ci_controller.run_directory import preparation
from ci_controller.runtime.protocol import EngineStatus, LocalRuntime

RUNNING, EXITED = EngineStatus(WorkloadPhase.RUNNING), EngineStatus(WorkloadPhase.EXITED, 0)


class Ending:
    """A job that has completed, and the engine that had run it, which answers with `statuses` one after the other."""

    def __init__(self, data: DataDirectory, watcher: FileWatcher) -> None:
        self.runtime = create_autospec(LocalRuntime, instance=True)
        self.runtime.name, self.runtime.has_console, self.runtime.can_wait = "played", True, True
        self.runtime.look.side_effect = lambda key: self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        self.runtime.delete_tree.side_effect = delete_tree
        self.statuses: list[EngineStatus] = []
        self.execution = WorkloadExecution(
            Settings(),
            cast(LocalRuntime, self.runtime),
            data,
            utc_now,
            watcher=watcher,
            check=lambda: None,
            ballast=Ballast(data.path / "db"),
        )
        self.job = Job(
            id=new_job_id(),
            type="container",
            submit_time=utc_now(),
            state=State.COMPLETED,
            conclusion=Conclusion.SUCCEEDED,
            end_time=utc_now(),
            log_bytes=0,
        )
        self.run = data.run(self.job.id, 1)
        preparation.prepare(self.run, b"true", has_console=True)

    async def is_stopped(self, job: Job, on_exit: Callable[[], None]) -> bool:
        """Clean up, and call `on_exit` once the job may exit; return whether it was stopped for that."""
        allow = self.execution._exits.allowed

        def allowed(run: object) -> object:
            on_exit()
            return allow(self.run)

        self.execution._exits.allowed = allowed  # type: ignore[method-assign,assignment]
        async with self.execution.events(job) as wakeups:
            self.wake = wakeups.wake
            await self.execution.clean_up(job)
        assert self.runtime.remove.called
        assert preparation.is_cleared(self.run)
        return bool(self.runtime.stop.called)


@pytest.fixture
async def ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ending]:
    monkeypatch.setattr(exits, "EXIT_SECONDS", 0.1)
    monkeypatch.setattr(exits, "ASK_SECONDS", 0.05)
    data = DataDirectory(tmp_path)
    data.create()
    async with FileWatcher() as watcher:
        yield Ending(data, watcher)


@pytest.mark.parametrize(("status", "stopped"), [(RUNNING, True), (EXITED, False)])
async def test_of_what_has_said_nothing_the_engines_word_counts(
    ending: Ending, status: EngineStatus, stopped: bool
) -> None:
    ending.statuses = [status]
    assert await ending.is_stopped(ending.job, lambda: None) is stopped


@pytest.mark.parametrize("was_told_to_stop", [False, True])
@pytest.mark.parametrize("is_woken", [False, True])
@pytest.mark.parametrize(
    ("statuses", "stopped"),
    [
        ([EXITED], False),
        ([RUNNING], True),  # A job can write what its script writes, and the engine tells of other things than an end.
        ([RUNNING, EXITED], False),
    ],
)
async def test_the_word_of_a_script_counts_once_the_engine_says_the_same(
    ending: Ending, statuses: list[EngineStatus], stopped: bool, is_woken: bool, was_told_to_stop: bool
) -> None:
    """A wake-up is never taken for the engine's word, and what the engine told may be lost."""
    ending.run.started.touch()
    ending.run.exit.write_text("0 last\n")
    ending.statuses = statuses
    job = ending.job.with_changes(stop_code=ReasonCode.CANCELLED) if was_told_to_stop else ending.job
    assert await ending.is_stopped(job, lambda: ending.wake() if is_woken else None) is stopped
