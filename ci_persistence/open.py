"""Opens the database that the settings name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import Unavailable
from ci_common.owner_file import BoundDatabase, check_owner
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_persistence.postgresql import postgresql_database
from ci_persistence.sqlite.database import SQLiteDatabase
from ci_persistence.storage import Storage
from ci_persistence.stores.installations import Installation

_PATIENCE_SECONDS = 60.0
_RETRY_SECONDS = 0.2


def sqlite_storage(path: Path, **options: float) -> Storage:
    """Return the stores of the SQLite database at `path`, not yet open; `options` are those of `SQLiteDatabase`."""
    return Storage(SQLiteDatabase(path, **options))


def storage_at(address: DatabaseAddress) -> Storage:
    """Return the stores of a database, not yet open. Raises Unavailable without its driver."""
    return sqlite_storage(address.path) if address.path is not None else Storage(postgresql_database(address))


@asynccontextmanager
async def open_storage(address: DatabaseAddress) -> AsyncIterator[Storage]:
    """Open a database, of any data directory, and close it at the end. Raises Unavailable."""
    storage = storage_at(address)
    try:
        await storage.open()
        yield storage
    finally:
        await storage.close()


async def installation_of(storage: Storage) -> Installation:
    """Return the installation of a database that has just been opened.

    A server may go away in between as well as before, and is waited for in the same way. Raises Unavailable.
    """
    deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while True:
        try:
            return await storage.installations.get()
        except Unavailable:
            if asyncio.get_running_loop().time() + _RETRY_SECONDS >= deadline:
                raise
        await asyncio.sleep(_RETRY_SECONDS)


@asynccontextmanager
async def open_installation(settings: Settings) -> AsyncIterator[Storage]:
    """Open the database that the settings name, and make the data directory where it is here and there is none yet.

    Raises WrongDataDirectory where the two do not belong together, Unavailable. Nothing is made then, but the tables of
    a server's database.
    """
    data, database = DataDirectory(settings.data_path), settings.database
    if settings.has_files and database.path is not None and not database.path.exists():
        check_owner(data, BoundDatabase(database, None, None))
        data.create()
    async with open_storage(database) as storage:
        if settings.has_files:
            check_owner(data, (await installation_of(storage)).bound(database))
            data.create()
        yield storage
