"""Opens databases, and closes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ci_common.owner_file import check_owner
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_persistence.sqlite.repository import SQLiteJobRepository
from ci_persistence.storage import Storage


@asynccontextmanager
async def open_repository(path: Path) -> AsyncIterator[Storage]:
    """Open the database at `path`, of any data directory, and close it at the end. Raises Unavailable."""
    repository = SQLiteJobRepository(path)
    try:
        await repository.open()
        yield repository
    finally:
        await repository.close()


@asynccontextmanager
async def open_installation(settings: Settings) -> AsyncIterator[Storage]:
    """Open the database that the settings name, and make the data directory where there is none yet.

    Raises WrongDataDirectory where the two do not belong together, and makes nothing then; Unavailable.
    """
    data, database = DataDirectory(settings.data_path), settings.db_path
    if not database.exists():
        check_owner(data, database, None, None)
        data.create()
    async with open_repository(database) as repository:
        installation = await repository.installation()
        check_owner(data, database, installation.id, installation.data_path)
        data.create()
        yield repository
