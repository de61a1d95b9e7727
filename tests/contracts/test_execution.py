"""The contract of executions, on each implementation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ci_common.jobs import Job, new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.times import utc_now
from ci_controller.execution.builtin import BuiltinExecution
from ci_controller.execution.protocol import Execution
from ci_controller.runtime.process.runtime import ProcessRuntime
from ci_controller.runtime.protocol import LocalRuntime
from tests.contracts.docker_bench import busybox, docker_runtime
from tests.contracts.execution_suite import ExecutionContract, Lifecycle
from tests.contracts.execution_suite.bench import Open
from tests.contracts.local_execution import LocalBench


class TestProcesses(LocalBench, ExecutionContract):
    def runtime_of(self, data: DataDirectory) -> LocalRuntime:
        return ProcessRuntime(Settings(data_dir=data.path), data)


@pytest.mark.docker
class TestContainers(LocalBench, ExecutionContract):
    @property
    def image(self) -> str:  # type: ignore[override]
        return busybox()

    def runtime_of(self, data: DataDirectory) -> LocalRuntime:
        return docker_runtime(data)


class TestComputed(Lifecycle):
    """`echo` and `sleep`, of which nothing lives outside of the row."""

    @pytest.fixture
    def open_execution(self) -> Open:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Execution]:
            yield BuiltinExecution(utc_now)

        return opened

    def quick(self) -> Job:
        return computed("echo", {"message": "hello"})

    def endless(self) -> Job:
        return computed("sleep", {"ms": 600_000})


def computed(job_type: str, payload: dict[str, Any]) -> Job:
    return Job(id=new_job_id(), type=job_type, submit_time=utc_now(), payload=payload)
