"""Whether a job can move into the container that waits for it at once."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from ci_common.archives.unpack import UnpackLimits
from ci_common.jobs import Job, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.disk import Ballast
from ci_common.times import utc_now
from ci_controller.execution.workload_execution import WorkloadExecution
from ci_controller.policy.verdicts import Sight
from ci_controller.run_directory.preparation import prepare_gate
from ci_controller.runtime.protocol import Runtime
from tests.helpers.waiting_runtime import WaitingRuntime


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDirectory]:
    """A data directory in which the workload `w` waits at its gate."""
    data = DataDirectory(tmp_path)
    run = data.waiting_run("w")
    prepare_gate(run, has_console=True)
    run.waiting.touch()
    reader = os.open(run.gate, os.O_RDONLY | os.O_NONBLOCK)
    yield data
    os.close(reader)


async def is_ready(data: DataDirectory, *, has_upload: bool) -> bool:
    job = Job(
        id="j", type="container", submit_time=utc_now(), state=State.STARTING, workload="w", has_upload=has_upload
    )
    limits = UnpackLimits.of(Settings.from_env({}))
    runtime = cast(Runtime, WaitingRuntime())
    ballast = Ballast(data.path / "db")
    execution = WorkloadExecution(runtime, data, utc_now, limits=limits, check=lambda: None, ballast=ballast)
    seen = await execution.look(job)
    assert seen.sight is Sight.POOLED
    return seen.ready


async def test_a_job_without_files_is(data: DataDirectory) -> None:
    assert await is_ready(data, has_upload=False)


async def test_a_job_whose_project_is_unpacked_is(data: DataDirectory) -> None:
    assert not await is_ready(data, has_upload=True)
    data.run("j", 1).workspace.mkdir(parents=True)
    assert await is_ready(data, has_upload=True)


async def test_where_something_is_in_the_way_it_is_not(data: DataDirectory) -> None:
    data.run("j", 1).workspace.mkdir(parents=True)
    data.run("j", 1).log.touch()
    assert not await is_ready(data, has_upload=False)
