"""Opens the database of the installation that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ci_common.owner_file import check_owner
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_persistence.sqlite.repository import SQLiteJobRepository


@asynccontextmanager
async def open_installation(settings: Settings) -> AsyncIterator[SQLiteJobRepository]:
    """Open the database, make the data directory where there is none yet, and close the database at the end.

    Raises WrongDataDirectory where the two do not belong together, and makes nothing then; Unavailable.
    """
    data, database = DataDirectory(settings.data_path), settings.db_path
    if not database.exists():
        check_owner(data, database, None, None)
        data.create()
    repository = SQLiteJobRepository(database)
    try:
        await repository.open()
        installation = await repository.installation()
        check_owner(data, database, installation.id, installation.data_path)
        data.create()
        yield repository
    finally:
        await repository.close()
