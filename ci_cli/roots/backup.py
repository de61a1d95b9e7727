"""`ci backup`, `ci restore` and `ci adopt`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.settings import Settings
from ci_common.system.reporting import log_to_stderr
from ci_controller import ownership
from ci_controller.backup.restore import restore_backup
from ci_controller.backup.take import take_backup
from ci_controller.migration import migrate_database
from ci_controller.ownership import Adoption, AdoptionRefused
from ci_persistence.open import open_storage
from ci_persistence.storage import Storage


async def backup(
    settings: Settings, target: Path, say: Callable[[str], None], *, with_key_ring: bool
) -> dict[str, Any]:
    """Take a backup and return its manifest. Raises what `take_backup` raises."""
    return (await take_backup(settings, target, say, with_key_ring=with_key_ring)).model_dump(mode="json")


async def restore(
    settings: Settings, source: Path, say: Callable[[str], None], *, keep_queue: bool, keep_keys: bool
) -> dict[str, Any]:
    """Restore a backup and return what was done. Raises what `restore_backup` raises."""
    log_to_stderr("warning", form="ci: %(message)s")
    done = await restore_backup(settings, source, say, keep_queue=keep_queue, keep_keys=keep_keys)
    return {
        "database": str(settings.database),
        "data_path": str(settings.data_path),
        "installation_id": done.installation_id,
        "created": done.manifest.model_dump(mode="json")["created"],
        "jobs": done.jobs,
        "ended": done.abandoned.ended,
        "queued": done.abandoned.queued,
        "revoked_keys": done.revoked_keys,
        "damaged": list(done.manifest.damaged),
    }


async def plan_adoption(settings: Settings, *, as_copy: bool) -> Adoption:
    """Return what adopting the database would mean. Raises CiError."""
    async with _existing(settings) as storage:
        return await ownership.plan_adoption(settings, storage, as_copy=as_copy)


async def adopt(settings: Settings, agreed: Adoption, say: Callable[[str], None], *, as_copy: bool) -> dict[str, Any]:
    """Adopt the database as `agreed` says, and return what was done. Raises CiError."""
    async with _existing(settings) as storage:
        adoption = await ownership.plan_adoption(settings, storage, as_copy=as_copy)
        if (adoption.mismatch, adoption.keeps_jobs) != (agreed.mismatch, agreed.keeps_jobs):
            raise AdoptionRefused("the database or the data directory has just changed: run `ci adopt` again")
        abandoned = await ownership.adopt(adoption, storage, say)
        return {
            "database": str(adoption.database),
            "data_path": str(settings.data_path),
            "installation_id": (await storage.installations.get()).id,
            "ended": abandoned.ended,
            "kept": abandoned.queued,
        }


async def migrate(source: DatabaseAddress, target: DatabaseAddress, say: Callable[[str], None]) -> dict[str, Any]:
    """Move an installation to another database, and return what was moved. Raises CiError."""
    done = await migrate_database(source, target, say)
    return {
        "from": str(source),
        "to": str(target),
        "installation_id": done.installation.id,
        "data_path": done.installation.data_path,
        "rows": done.rows,
    }


@asynccontextmanager
async def _existing(settings: Settings) -> AsyncIterator[Storage]:
    database = settings.database
    if database.path is not None and not database.path.exists():
        raise AdoptionRefused(f"there is no database at {database}: name it with CI_DB_PATH")
    async with open_storage(database) as storage:
        yield storage
