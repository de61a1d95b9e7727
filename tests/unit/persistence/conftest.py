"""Where a test's database is, and who leads on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ci_common.system.processes import this_process
from ci_persistence.repository import Lease
from ci_persistence.sqlite.repository import SQLiteJobRepository


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def repository(path: Path) -> AsyncIterator[SQLiteJobRepository]:
    """An open repository on it."""
    repository = SQLiteJobRepository(path)
    await repository.open()
    yield repository
    await repository.close()


@pytest.fixture
async def lease(repository: SQLiteJobRepository) -> Lease:
    """The lease of a leader."""
    lease = await repository.acquire(this_process(), 60)
    assert lease is not None
    return lease
