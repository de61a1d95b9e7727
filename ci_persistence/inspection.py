"""Inspects a database for `ci doctor`. Nothing is changed, and no schema is brought up to date."""

import asyncio
from collections.abc import Collection

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import Unavailable
from ci_common.findings import Finding
from ci_persistence import postgresql
from ci_persistence.sqlite import inspection as sqlite
from ci_persistence.sqlite.schema import SQLITE_VERSION, check_version
from ci_persistence.stores.inspection import DatabaseReport, DatabaseTrouble, Trouble


async def inspect_database(address: DatabaseAddress, *, seconds: float) -> DatabaseReport:
    """Inspect a database; a file's structure is checked for at most `seconds`. Raises DatabaseTrouble."""
    if address.path is not None:
        return await asyncio.to_thread(sqlite.inspect_database, address.path, seconds=seconds)
    try:
        return await postgresql.inspection_of(address).report()
    except Unavailable as exc:
        finding = Finding("database", False, str(exc), "correct CI_DATABASE_URL, or install what is missing")
        raise DatabaseTrouble(Trouble.UNREACHABLE, str(exc), finding) from exc


async def jobs_with_rows(address: DatabaseAddress, job_ids: Collection[str]) -> set[str]:
    """Return those of the ids that have a row or a removal. Raises DatabaseTrouble."""
    if address.path is not None:
        return await asyncio.to_thread(sqlite.jobs_with_rows, address.path, list(job_ids))
    return await postgresql.inspection_of(address).jobs_with_rows(job_ids)


async def environment_references(address: DatabaseAddress) -> set[str]:
    """Return where the prepared environments are, of all that have a row. Raises DatabaseTrouble."""
    if address.path is not None:
        return await asyncio.to_thread(sqlite.environment_references, address.path)
    return await postgresql.inspection_of(address).environment_references()


async def cache_ids(address: DatabaseAddress) -> set[str]:
    """Return the ids of all caches that have a row. Raises DatabaseTrouble."""
    if address.path is not None:
        return await asyncio.to_thread(sqlite.cache_ids, address.path)
    return await postgresql.inspection_of(address).cache_ids()


async def sealed_texts(address: DatabaseAddress) -> set[str]:
    """Return the ciphertexts of all secrets. Raises DatabaseTrouble."""
    if address.path is not None:
        return await asyncio.to_thread(sqlite.sealed_texts, address.path)
    return await postgresql.inspection_of(address).sealed_texts()


def driver_versions(address: DatabaseAddress) -> str:
    """Return the versions of what the database is used with. Raises Unavailable where it cannot be used."""
    if address.path is None:
        return postgresql.driver_versions()
    check_version()
    return f"SQLite {SQLITE_VERSION}"
