"""A database of which this process leads the controllers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ci_common.system.processes import this_process
from ci_persistence.repository import Lease
from ci_persistence.sqlite.repository import SQLiteJobRepository

_SECONDS = 3600.0
"""Longer than any test."""


@asynccontextmanager
async def leading(directory: Path) -> AsyncIterator[tuple[SQLiteJobRepository, Lease]]:
    """Yield a connected repository on a database of its own in `directory`, and the lease."""
    repository = SQLiteJobRepository(directory / "jobs.db")
    await repository.open()
    lease = await repository.acquire(this_process(), _SECONDS)
    assert lease is not None, "nobody else leads"
    yield repository, lease
    await repository.close()
