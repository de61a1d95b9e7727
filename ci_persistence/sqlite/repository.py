"""The protocols of storage on SQLite: runs the functions of `operations` on three connections."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from ci_common.errors import DatabaseUnavailable, Locked
from ci_common.jobs import Job, NewJob
from ci_common.owner_file import check_owner
from ci_common.pool import PoolState
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import ProcessIdentity
from ci_common.system.watch import FileWatcher, Watched
from ci_persistence.metrics import Metrics, StageTimes
from ci_persistence.repository import Installation, JobFilter, Lease, LeaseState
from ci_persistence.retention import Ended, Removal
from ci_persistence.sqlite import operations, queries
from ci_persistence.sqlite.change_notifier import ChangeNotifier
from ci_persistence.sqlite.connections import Connection, Writer, translated
from ci_persistence.sqlite.rows import CONTROLLER_FIELDS, first_version
from ci_persistence.sqlite.schema import bring_up_to_date, check_version
from ci_persistence.storage import Storage

log = logging.getLogger(__name__)

_DELETED_AT_ONCE = 200
"""How many jobs one transaction deletes; more hold up other writers for longer."""


class SQLiteJobRepository(Storage):
    """All protocols of storage on the database at `path`, which is made where there is none.

    For one event loop. A write waits at most `busy_timeout` seconds for other processes before it raises Locked; `open`
    waits at most `patience` seconds.
    """

    def __init__(self, path: Path, *, busy_timeout: float = 5.0, patience: float = 60.0) -> None:
        self._path = path.absolute()
        self._busy_timeout = busy_timeout
        self._patience = patience
        self._connected: _Connected | None = None

    async def open(self) -> None:
        if self._connected is not None:
            return
        check_version()
        with translated(self._path):
            # Jobs may contain secrets. SQLite gives the files beside the database the same mode.
            self._path.touch(mode=0o600)
        deadline = time.monotonic() + self._patience
        while self._connected is None:
            try:
                self._connected = await _Connected.connect(self._path, self._busy_timeout)
            except Locked as exc:
                if time.monotonic() >= deadline:
                    raise
                log.error("waiting for the database: %s", exc)
                await asyncio.sleep(min(1.0, self._busy_timeout))

    async def close(self) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            await connected.close()

    async def ping(self) -> None:
        await self._use().quick.run(operations.ping)

    async def installation(self) -> Installation:
        return await self._use().quick.run(operations.installation)

    async def bind(self, lease: Lease, installation: Installation) -> None:
        await self._use().writer.run(partial(operations.bind, lease=lease, installation=installation))

    async def add(self, job: NewJob, *, max_queued: int) -> Job:
        adding = partial(operations.add, job=first_version(job), max_queued=max_queued)
        return await self._use().writer.run(adding, certain=True, vital=False)

    async def queue_length(self) -> int:
        return await self._use().quick.run(operations.queue_length)

    async def metrics(self) -> Metrics:
        return await self._use().quick.run(operations.metrics)

    async def stage_times(self) -> list[StageTimes]:
        return await self._use().quick.run(operations.stage_times)

    async def get(self, job_id: str) -> Job:
        return await self._use().quick.run(partial(operations.get, job_id=job_id))

    async def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        return await self._use().quick.run(partial(operations.get_many, job_ids=tuple(job_ids)))

    async def pool(self) -> PoolState:
        return await self._use().quick.run(operations.pool)

    async def publish_pool(self, state: PoolState, lease: Lease) -> None:
        await self._use().writer.run(partial(operations.publish_pool, state=state, lease=lease))

    async def list_jobs(self, where: JobFilter, *, limit: int, older_than: str | None = None) -> list[Job]:
        return await self._use().search.run(
            partial(operations.list_jobs, where=where, limit=limit, older_than=older_than)
        )

    async def request_cancel(self, job_id: str, now: datetime) -> Job:
        return await self._use().writer.run(partial(operations.request_cancel, job_id=job_id, now=now))

    async def queued(self) -> list[Job]:
        connected = self._use()
        return await connected.quick.run(connected.queued)

    async def active(self) -> list[Job]:
        connected = self._use()
        return await connected.quick.run(connected.active)

    async def unfinished(self) -> tuple[list[Job], list[Job]]:
        connected = self._use()
        return await connected.quick.run(
            lambda connection: (connected.active(connection), connected.queued(connection))
        )

    async def update(self, job: Job, lease: Lease, **changes: Any) -> Job:
        if foreign := changes.keys() - CONTROLLER_FIELDS:
            raise ValueError(f"the controller may not write these fields: {', '.join(sorted(foreign))}")
        return await self._use().writer.run(partial(operations.update, seen=job, lease=lease, changes=changes))

    def changes(self, on_row: Callable[[Job], object] | None = None) -> AsyncGenerator[None, None]:
        return self._use().notifier.follow(on_row)

    async def ended(self, where: Ended, *, limit: int) -> list[str]:
        return await self._use().search.run(partial(operations.ended, where=where, limit=limit))

    async def crowded_projects(self, more_than: int) -> list[str]:
        return await self._use().search.run(partial(operations.crowded_projects, more_than=more_than))

    async def delete(self, job_ids: Iterable[str], *, lease: Lease | None = None) -> list[str]:
        left, deleted = list(dict.fromkeys(job_ids)), []
        while left:
            batch, left = left[:_DELETED_AT_ONCE], left[_DELETED_AT_ONCE:]
            deleting = partial(operations.delete, job_ids=batch, lease=lease)
            deleted += await self._use().writer.run(deleting)
        return deleted

    async def removals(self, *, after: str = "", limit: int) -> list[Removal]:
        return await self._use().quick.run(partial(operations.removals, after=after, limit=limit))

    async def count_removals(self) -> int:
        return await self._use().quick.run(operations.count_removals)

    async def forget_removals(self, job_ids: Iterable[str], lease: Lease) -> None:
        forgetting = partial(operations.forget_removals, job_ids=list(job_ids), lease=lease)
        await self._use().writer.run(forgetting)

    async def lease_state(self) -> LeaseState | None:
        return await self._use().quick.run(operations.lease_state)

    async def acquire(self, holder: ProcessIdentity, seconds: float, expired: LeaseState | None = None) -> Lease | None:
        acquiring = partial(operations.acquire, holder=holder, seconds=seconds, expired=expired)
        return await self._use().writer.run(acquiring)

    async def renew(self, lease: Lease, seconds: float) -> None:
        await self._use().writer.run(partial(operations.renew, lease=lease, seconds=seconds))

    async def release(self, lease: Lease) -> None:
        await self._use().writer.run(partial(operations.release, lease=lease))

    def _use(self) -> "_Connected":
        if self._connected is None:
            raise DatabaseUnavailable(f"the database {self._path} is not open")
        return self._connected


class _Connected:
    """What an open repository holds.

    Short reads, searches and writes have connections of their own, so a search through all jobs delays nothing else.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        def connection(setup: tuple[str, ...] = queries.CONFIGURE_READER) -> Connection:
            return Connection(path, busy_timeout=busy_timeout, setup=setup)

        self.quick = connection()
        self.queued = operations.CachedQuery(queries.QUEUED_KEYS)
        self.active = operations.CachedQuery(queries.ACTIVE_KEYS)
        self.search = connection()
        self.writing = connection(queries.CONFIGURE_WRITER)
        self.watcher = FileWatcher()
        # SQLite follows a link to a database, and puts its files beside the target.
        wal = path.resolve().with_name(path.resolve().name + "-wal")
        self.notifier = ChangeNotifier(
            partial(self.writing.run, operations.data_version), partial(self.watcher.subscribe, (wal, Watched.CONTENT))
        )
        self.writer = Writer(path, self.writing, self.notifier)
        self._closing = AsyncExitStack()
        for closing in (self.writer, self.search, self.quick):
            self._closing.push_async_callback(closing.close)

    @classmethod
    async def connect(cls, path: Path, busy_timeout: float) -> "_Connected":
        connected = cls(path, busy_timeout)
        try:
            await connected.writing.open()
            await connected.writing.run(bring_up_to_date)
            for reading in (connected.quick, connected.search):
                await reading.open()
            await connected._closing.enter_async_context(connected.watcher)
        except BaseException:
            await connected.close()
            raise
        return connected

    async def close(self) -> None:
        await self._closing.aclose()


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
