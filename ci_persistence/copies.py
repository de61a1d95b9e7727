"""Copies of a whole database for backups: how one is taken while the database is in use, and restored where none is.

What differs between the databases is here; what a backup consists of beside its database is in `ci_controller.backup`.
"""

import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import CiError
from ci_common.jobs import Job
from ci_common.system.tasks import in_thread
from ci_persistence.database import Session
from ci_persistence.job_lists import JobFilter
from ci_persistence.open import open_storage
from ci_persistence.postgresql import dumps_of
from ci_persistence.sqlite.copies import copy_database, fold, known_jobs
from ci_persistence.sqlite.schema import migrations
from ci_persistence.storage import Storage
from ci_persistence.stores.inspection import known_jobs as stored_jobs
from ci_persistence.stores.installations import Installation
from ci_persistence.stores.jobs import JobStore
from ci_persistence.stores.leases import forget_leader
from ci_persistence.stores.retention import delete_jobs

SQLITE, POSTGRESQL = "sqlite", "postgresql"
FILE_NAMES = {SQLITE: "ci_jobs.db", POSTGRESQL: "ci_jobs.dump"}
"""What the copy is called in a backup, by the kind of database."""
_DRAFT_SUFFIX = ".restoring"
_SIDE_FILES = ("", "-wal", "-shm", "-journal")
_BALLAST = "-ballast"
_PAGE = 100

Say = Callable[[str], None]
"""Takes one line of progress."""


class InTheWay(CiError):
    """There is something where a database is to be restored. The message says what, and what to do."""


def kind_of(address: DatabaseAddress) -> str:
    """Return the kind of database."""
    return SQLITE if address.path is not None else POSTGRESQL


def newest_schema() -> int:
    """Return the version of the schema of this program; both kinds have the same number of migrations."""
    return len(migrations())


class Copy(Protocol):
    """A copy of a database as of one moment."""

    installation: Installation
    left_out: list[str]
    """Ids of jobs that are in the copy, and that a restore is to leave out."""

    def jobs(self) -> AsyncIterator[Job]:
        """Yield the jobs in the copy, newest first."""

    async def known(self, job_ids: Collection[str]) -> set[str]:
        """Return those of the ids that the live database still has."""

    async def leave_out(self, job_ids: Collection[str]) -> None:
        """Leave out jobs that were deleted since."""

    async def secrets(self) -> int:
        """Return how many secrets it has as ciphertext."""


def copied(address: DatabaseAddress, target: Path, say: Say) -> AbstractAsyncContextManager[Copy]:
    """Copy a database to the file `target`, which is complete at the end of the block.

    Raises Unavailable, also where the database is not one of ours, or of a newer version.
    """
    return _copied_file(address.path, target, say) if address.path is not None else _dumped(address, target, say)


@asynccontextmanager
async def _copied_file(live: Path, target: Path, say: Say) -> AsyncIterator[Copy]:
    await in_thread(copy_database, live, target, lambda done, total: say(f"database: {done} of {total} pages"))
    async with open_storage(DatabaseAddress(path=target)) as storage:
        yield _FileCopy(live, storage, await storage.installations.get())
    await in_thread(fold, target)


class _FileCopy:
    """A copy that can be opened."""

    def __init__(self, live: Path, storage: Storage, installation: Installation) -> None:
        self._live = live
        self._storage = storage
        self.installation = installation
        self.left_out: list[str] = []

    def jobs(self) -> AsyncIterator[Job]:
        return jobs_of(self._storage.jobs)

    async def known(self, job_ids: Collection[str]) -> set[str]:
        return await in_thread(known_jobs, self._live, job_ids)

    async def leave_out(self, job_ids: Collection[str]) -> None:
        await self._storage.database.write(partial(delete_jobs, job_ids=list(job_ids)))

    async def secrets(self) -> int:
        return await _sealed(self._storage)


@asynccontextmanager
async def _dumped(address: DatabaseAddress, target: Path, say: Say) -> AsyncIterator[Copy]:
    say("database: pg_dump")
    dump = await dumps_of(address).take(target)
    async with open_storage(address) as storage:
        yield _DumpCopy(storage, dump.installation, dump.job_ids)


class _DumpCopy:
    """A copy that cannot be opened: its jobs are read from the live database, where later ones are passed over."""

    def __init__(self, storage: Storage, installation: Installation, job_ids: Collection[str]) -> None:
        self._storage = storage
        self._ids = frozenset(job_ids)
        self.installation = installation
        self.left_out: list[str] = []

    async def jobs(self) -> AsyncIterator[Job]:
        unseen = set(self._ids)
        async for job in jobs_of(self._storage.jobs):
            if job.id in self._ids:
                unseen.discard(job.id)
                yield job
        self.left_out += unseen

    async def known(self, job_ids: Collection[str]) -> set[str]:
        return await self._storage.database.read(partial(stored_jobs, job_ids=list(job_ids)))

    async def leave_out(self, job_ids: Collection[str]) -> None:
        self.left_out += job_ids

    async def secrets(self) -> int:
        return await _sealed(self._storage)


async def _sealed(storage: Storage) -> int:
    return sum(secret.sealed is not None for secret in await storage.secrets.list())


async def jobs_of(jobs: JobStore) -> AsyncIterator[Job]:
    """Yield all jobs of a database, newest first."""
    older_than = None
    while page := await jobs.list_jobs(JobFilter(), limit=_PAGE, older_than=older_than):
        for job in page:
            yield job
        older_than = page[-1].id


class Restoring(Protocol):
    """A database that is being restored. Until `put_in_place`, no server or controller starts with it."""

    async def check_vacant(self) -> None:
        """Raise InTheWay where there is a database already; Unavailable."""

    def prepared(self) -> AbstractAsyncContextManager[Path | None]:
        """Give the path to which the copy's file has to be copied before; None where it is read where it is.

        Nothing is left under that name at the end of the block.
        """

    def loaded(self, file: Path, left_out: Collection[str]) -> AbstractAsyncContextManager[Storage]:
        """Open what the copy in `file` has. No controller leads in it."""

    async def put_in_place(self) -> None:
        """Give the database its name. Raises InTheWay where there is another."""


def restoring(address: DatabaseAddress) -> Restoring:
    """Return how a database is restored at `address`."""
    return _RestoredFile(address.path) if address.path is not None else _RestoredDump(address)


class _RestoredFile:
    """A file is made under another name beside its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(path.name + _DRAFT_SUFFIX)

    async def check_vacant(self) -> None:
        for suffix in _SIDE_FILES:
            if os.path.lexists(path := self._path.with_name(self._path.name + suffix)):
                raise InTheWay(f"{path} exists already")

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator[Path | None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._clear()
        try:
            yield self._draft
        finally:
            self._clear()

    def _clear(self) -> None:
        for suffix in (*_SIDE_FILES, _BALLAST):
            self._draft.with_name(self._draft.name + suffix).unlink(missing_ok=True)

    @asynccontextmanager
    async def loaded(self, file: Path, left_out: Collection[str]) -> AsyncIterator[Storage]:
        async with _opened_copy(DatabaseAddress(path=file), left_out) as storage:
            yield storage
        await in_thread(fold, file)

    async def put_in_place(self) -> None:
        try:
            os.link(self._draft, self._path)  # Unlike a rename, this replaces nothing.
        except FileExistsError as exc:
            raise InTheWay(f"a server has just created {self._path}") from exc
        except OSError:
            self._draft.rename(self._path)  # A file system without hard links.


class _RestoredDump:
    """A server's database is filled where it is, and gets the row of its installation last."""

    def __init__(self, address: DatabaseAddress) -> None:
        self._address = address
        self._dumps = dumps_of(address)

    async def check_vacant(self) -> None:
        if found := await self._dumps.obstacle():
            raise InTheWay(found)

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator[Path | None]:
        yield None

    @asynccontextmanager
    async def loaded(self, file: Path, left_out: Collection[str]) -> AsyncIterator[Storage]:
        await self._dumps.load(file)
        async with _opened_copy(self._address, left_out) as storage:
            yield storage

    async def put_in_place(self) -> None:
        """Do nothing: it is there since it has an installation."""


@asynccontextmanager
async def _opened_copy(address: DatabaseAddress, left_out: Collection[str]) -> AsyncIterator[Storage]:
    async with open_storage(address) as storage:
        await storage.database.write(partial(_begin, left_out=list(left_out)))
        yield storage


async def _begin(session: Session, *, left_out: list[str]) -> None:
    await forget_leader(session)
    if left_out:
        await delete_jobs(session, job_ids=left_out)
