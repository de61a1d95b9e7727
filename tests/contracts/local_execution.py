"""The bench of executions on a runtime of this machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.disk import Ballast
from ci_common.system.tasks import background_task
from ci_common.system.watch import FileWatcher
from ci_common.times import utc_now
from ci_controller.execution.protocol import Execution
from ci_controller.execution.workloads import WorkloadExecution
from ci_controller.runtime.protocol import LocalRuntime
from tests.contracts.execution_suite.bench import Open, ScriptBench, cleaned_afterwards


def execution_on(runtime: LocalRuntime, data: DataDirectory, watcher: FileWatcher) -> WorkloadExecution:
    """Return the execution of a controller that leads, on a runtime, without a pool."""
    ballast = Ballast(data.path / "db")
    return WorkloadExecution(Settings(), runtime, data, utc_now, watcher=watcher, check=lambda: None, ballast=ballast)


class LocalBench(ScriptBench):
    def runtime_of(self, data: DataDirectory) -> LocalRuntime:
        """Return a new runtime of the installation whose data directory this is."""
        raise NotImplementedError

    @pytest.fixture
    def open_execution(self, tmp_path: Path) -> Open:
        data = DataDirectory(tmp_path / "data")
        data.create()

        @asynccontextmanager
        async def opened() -> AsyncIterator[Execution]:
            runtime = self.runtime_of(data)
            await runtime.open()
            try:
                async with FileWatcher() as watcher:
                    execution = execution_on(runtime, data, watcher)
                    async with background_task(execution.run(), name="execution"), cleaned_afterwards(execution):
                        yield execution
            finally:
                await runtime.close()

        return opened
