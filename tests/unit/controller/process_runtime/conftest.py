"""A process runtime on temporary paths."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.runtime.process.runtime import ProcessRuntime
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.contracts.runtime_suite.trial import Trial, make_spec


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    data = DataDirectory(tmp_path / "data")
    data.create()
    return data


@pytest_asyncio.fixture
async def runtime(data: DataDirectory) -> AsyncIterator[ProcessRuntime]:
    runtime = ProcessRuntime(Settings(data_dir=data.path), data)
    await runtime.open()
    yield runtime
    for sighting in await runtime.list_workloads():
        await runtime.remove(sighting.key)
    await runtime.close()


@pytest.fixture
def trial(runtime: ProcessRuntime, data: DataDirectory) -> MakeTrial:
    return lambda *steps, **plan: Trial(runtime, make_spec(runtime, data, "none", *steps, **plan))
