"""The contract of executions, on each implementation."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
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
from tests.contracts.execution_suite.bench import Open, cleaned_afterwards
from tests.contracts.local_execution import LocalBench
from tests.contracts.socket_execution import SocketExecution
from tests.helpers.installation import ROOT

pytestmark = pytest.mark.slow


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


class TestSocket(ExecutionContract):
    """Without a file system in common: the run directories lie with an agent, which is reached through a socket."""

    @pytest.fixture
    def open_execution(self, tmp_path: Path) -> Iterator[Open]:
        logs, socket = tmp_path / "logs", tmp_path / "socket"
        logs.mkdir()
        program = [sys.executable, "-m", "tests.contracts.socket_agent", str(tmp_path / "elsewhere"), str(socket)]
        agent = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE)

        @asynccontextmanager
        async def opened() -> AsyncIterator[Execution]:
            execution = SocketExecution(socket, logs)
            async with cleaned_afterwards(execution):
                yield execution

        with agent:
            assert agent.stdout is not None
            assert agent.stdout.readline() == b"ready\n"
            yield opened
            agent.terminate()


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
