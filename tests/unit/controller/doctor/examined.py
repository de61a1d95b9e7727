"""What the doctor says of one subject, and the database that it looks at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ci_common.findings import Finding
from ci_common.settings import Settings
from ci_controller.doctor import examine
from ci_persistence.open import sqlite_storage
from ci_persistence.storage import Storage


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Storage]:
    storage = sqlite_storage(settings.db_path)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


async def found(settings: Settings, name: str) -> Finding:
    """Return what is said about one subject."""
    (finding,) = [finding for finding in await examine.examine(settings) if finding.name == name]
    return finding
