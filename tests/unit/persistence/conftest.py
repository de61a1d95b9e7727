"""Where a test's database is, and who leads on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ci_common.system.processes import this_process
from ci_persistence.open import sqlite_storage
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def storage(path: Path) -> AsyncIterator[Storage]:
    """An open storage on it."""
    storage = sqlite_storage(path)
    await storage.open()
    yield storage
    await storage.close()


@pytest.fixture
async def lease(storage: Storage) -> Lease:
    """The lease of a leader."""
    lease = await storage.leases.acquire(this_process(), 60)
    assert lease is not None
    return lease
