"""What the doctor says of one subject, and the database that it looks at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ci_common.findings import Finding
from ci_common.settings import Settings
from ci_controller.doctor import examine
from ci_persistence.sqlite.repository import SQLiteJobRepository


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[SQLiteJobRepository]:
    repository = SQLiteJobRepository(settings.db_path)
    await repository.open()
    try:
        yield repository
    finally:
        await repository.close()


async def found(settings: Settings, name: str) -> Finding:
    """Return what is said about one subject."""
    (finding,) = [finding for finding in await examine.examine(settings) if finding.name == name]
    return finding
