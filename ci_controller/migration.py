"""Moves an installation from one database to another. Its files stay where they are."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import StaleWrite
from ci_common.owner_file import MOVED_TO, BoundDatabase, check_owner, write_owner
from ci_common.run_directory.layout import DataDirectory
from ci_common.sharing.audit import command_entry
from ci_common.system.tasks import in_thread
from ci_controller.ownership import lease_of_none
from ci_persistence.moving import MoveRefused, move
from ci_persistence.open import open_storage
from ci_persistence.stores.installations import Installation


@dataclass(frozen=True, slots=True)
class Migrated:
    """The result of a migration."""

    rows: dict[str, int]
    """The number of rows by table."""
    installation: Installation
    """The installation, which is the same as before."""


async def migrate_database(source: DatabaseAddress, target: DatabaseAddress, say: Callable[[str], None]) -> Migrated:
    """Move everything that is in the database at `source` to `target`, and bind the data directory to that.

    Jobs, ids, counters, the outbox and the fence of the lease stay as they are. Servers have to be stopped: one that is
    not has a full queue afterwards. Nothing starts with `source` any more. Raises MoveRefused, AdoptionRefused
    where a controller leads, WrongDataDirectory, Unavailable.
    """
    if source.name == target.name:
        raise MoveRefused(f"{source} is both: name two databases")
    if source.path is not None and not source.path.is_file():
        raise MoveRefused(f"there is no database at {source}")
    async with open_storage(source) as storage:
        installation = await storage.installations.get()
        data = _checked_data(installation, source)
        lease = await lease_of_none(storage, say)

        def bind(server_id: str) -> None:
            if data is not None:
                bound = BoundDatabase(target, installation.id, installation.data_path, server_id)
                write_owner(data, bound, replace=True)

        await storage.audit.add([command_entry("migrate_database", f"ci migrate-database {source} {target}")])
        try:
            moved = await in_thread(move, source, target, say, bind)
        finally:
            with suppress(StaleWrite):
                await storage.leases.release(lease)
    return Migrated(moved.rows, installation)


def _checked_data(installation: Installation, source: DatabaseAddress) -> DataDirectory | None:
    """Return the data directory that the database belongs to; None where it has none yet."""
    if installation.data_path is None:
        return None
    if installation.data_path.startswith(MOVED_TO):
        raise MoveRefused(f"the database {source} was {installation.data_path} before")
    data = DataDirectory(Path(installation.data_path))
    if not data.path.is_dir():
        raise MoveRefused(
            f"the data directory {data.path} of the database {source} is not here: move the database on the host that "
            "has it"
        )
    check_owner(data, installation.bound(source))
    return data
