"""The caches of one installation during one term."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from ci_common.attempts.parts import JobCache
from ci_common.errors import CiError, LeadershipLost
from ci_common.jobs import Conclusion, Job, new_job_id
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.spec_parts.caches import JOB_ID, PlannedCache, StoredCache
from ci_common.system.tasks import in_thread
from ci_controller.caches.archives import UnsafeArchive
from ci_controller.caches.files import (
    CacheRecord,
    Choice,
    archive_of,
    open_archive,
    outcomes,
    read_records,
    take,
    write_records,
)
from ci_controller.environments.keys import scope_of
from ci_controller.job_writer import JobWriter
from ci_controller.run_directory.cache_script import PlacedCache
from ci_controller.runtime.protocol import Check

log = logging.getLogger(__name__)

MOST = 10_000
"""How many caches there may be."""
_WANTED = {
    "success": (Conclusion.SUCCEEDED,),
    "failure": (Conclusion.FAILED,),
    "always": (Conclusion.SUCCEEDED, Conclusion.FAILED),
}


class Caches:
    """Caches. Where anything fails here, jobs run without them."""

    def __init__(self, settings: Settings, *, data: DataDirectory, writer: JobWriter, check: Check) -> None:
        """`check` is called before every change to files, and may forbid it by raising."""
        self._settings = settings
        self._data = data
        self._writer = writer
        self._store = writer.storage.caches
        self._check = check
        self.most_bytes = settings.max_cache_bytes

    @asynccontextmanager
    async def chosen(self, job: Job, plan: ExecutionPlan) -> AsyncIterator[Choice]:
        """Yield the caches that an attempt starts with; their archives are open until the context is left."""
        choice = Choice()
        try:
            for number, planned in enumerate(plan.caches):
                placed = await self._choose(job, number, planned, choice)
                if plan.untrusted:  # What it leaves would run with the secrets of later jobs.
                    placed = replace(placed, is_saved=False)
                choice.caches.append(placed)
            yield choice
        finally:
            choice.close()

    async def _choose(self, job: Job, number: int, planned: PlannedCache, choice: Choice) -> PlacedCache:
        def filled(text: str) -> str:
            return text.replace(JOB_ID, job.id)

        own = planned.model_copy(update={"key": filled(planned.key), "restore": tuple(map(filled, planned.restore))})
        if not self._settings.cache_bytes:
            return PlacedCache(number, own, note="there are no caches here (CI_CACHE_BYTES=0)", is_saved=False)
        try:
            for stored in await self._store.candidates(scope_of(job), own.path, own.key, own.restore):
                descriptor = open_archive(self._data, stored.id, stored.size)
                if descriptor is not None:
                    choice.sources[number] = descriptor
                    await self._store.note_use(stored.id, self._writer.clock(), self._writer.lease)
                    return PlacedCache(number, own, stored.key, stored.size, is_saved=stored.key != own.key)
        except LeadershipLost:
            raise
        except (CiError, OSError) as exc:
            log.warning("job %s: its cache %s cannot be looked for: %s", job.id, own.path, exc)
        return PlacedCache(number, own)

    def collect(self, run: RunDirectory) -> tuple[JobCache, ...]:
        """Return what became of the caches of an attempt whose code has ended, as far as that is known."""
        return outcomes(run, read_records(run))

    async def save(self, job: Job, run: RunDirectory) -> tuple[JobCache, ...] | None:
        """Keep what an attempt has packed, and return what became of its caches; None if it has none.

        For one of which nothing runs any more. May be repeated. Raises LeadershipLost, Unavailable, OSError.
        """
        records = read_records(run)
        if not records:
            return None
        for number, record in enumerate(records):
            if record.saved is None:
                known = outcomes(run, [record])[0]
                kept = await self._save(job, run, record)
                records[number] = record.model_copy(
                    update={
                        "restored_from": known.restored_from,
                        "bytes": known.bytes if kept is None else kept.size,
                        "saved": kept is not None,
                    }
                )
                self._check()
                await in_thread(write_records, run, records)
        return outcomes(run, records)

    async def _save(self, job: Job, run: RunDirectory, record: CacheRecord) -> StoredCache | None:
        if not record.is_saved or job.conclusion not in _WANTED[record.when]:
            return None
        identity = new_job_id()
        self._check()
        try:
            taken = await in_thread(take, self._data, run, record, identity, self.most_bytes)
        except (UnsafeArchive, OSError) as exc:
            log.warning("job %s: its cache %s is not kept: %s", job.id, record.path, exc)
            return None
        if taken is None:
            return None
        now = self._writer.clock()
        stored = StoredCache(
            id=identity,
            scope=scope_of(job),
            owner=job.owner,
            project=job.project,
            path=record.path,
            key=record.key,
            job_id=job.id,
            created_time=now,
            last_used_time=now,
            size=taken.size,
            files=taken.files,
        )
        await self._store.keep(stored, self._writer.lease)
        await self._make_room()
        return stored

    async def _make_room(self) -> None:
        """Remove what is too much at once, so that no burst of jobs fills the disk until it is collected."""
        surplus = surplus_of(await self._store.list(limit=MOST), self._settings.cache_bytes)
        if surplus:
            await self._store.drop(surplus, lease=self._writer.lease)
            for identity in surplus:
                await asyncio.to_thread(archive_of(self._data, identity).unlink, missing_ok=True)


def surplus_of(stored: Iterable[StoredCache], room: int) -> list[str]:
    """Return the ids of the caches that do not fit into `room` bytes. `stored` has those first that were used last."""
    surplus = []
    for cache in stored:
        room -= cache.size
        if room < 0:
            surplus.append(cache.id)
    return surplus
