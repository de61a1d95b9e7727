"""An installation of the process runtime for the doctor to look at."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_persistence.storage import Storage
from tests.unit.controller.doctor.examined import opened


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(db_path=tmp_path / "ci_jobs.db", runtime="process")


@pytest.fixture
def data(settings: Settings) -> DataDirectory:
    data = DataDirectory(settings.data_path)
    data.create()
    return data


@pytest.fixture
async def storage(settings: Settings, data: DataDirectory) -> AsyncIterator[Storage]:
    async with opened(settings) as storage:
        yield storage
