"""Artifacts that are not kept any longer, and contents of jobs that have no row."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ci_common.artifacts.store import ArtifactStore as Contents
from ci_common.artifacts.store import StoreUnavailable
from ci_common.times import from_micros
from ci_controller.gc.expired_jobs import Ages
from ci_controller.gc.runner import FOUND_TWICE, Collector
from ci_controller.runtime.protocol import Check
from ci_persistence.stores.jobs import JobStore
from ci_persistence.stores.kept.artifacts import ArtifactStore
from ci_persistence.stores.leases import Lease

BATCH = 500


@dataclass(eq=False)
class ExpiredArtifacts(Collector[str]):
    """Contents of artifacts whose time is over. Their rows stay as long as the job, and tell what there was."""

    name = "expired artifacts"
    seconds = 300.0
    retry_seconds = 60.0
    ages: Ages
    contents: Contents
    store: ArtifactStore
    lease: Lease
    check: Check

    async def find(self) -> AsyncGenerator[list[str], None]:
        if (now := await self.ages.trusted_now()) is None:
            return
        last: list[str] = []
        while (keys := await self.store.expired(now, limit=BATCH)) and keys != last:
            yield keys
            last = keys

    async def remove(self, items: list[str]) -> dict[str, Exception]:
        failed: dict[str, Exception] = {}
        for key in items:
            self.check()
            try:
                await self.contents.remove(key)
            except (OSError, StoreUnavailable) as exc:
                failed[key] = exc
        gone = [key for key in items if key not in failed]
        await self.store.note_removed(gone, self.ages.clock(), self.lease)
        return failed


@dataclass(eq=False)
class OrphanArtifacts(Collector[str]):
    """Contents of jobs that have no row, as after a restore, and that are older than any job that is kept."""

    name = "artifacts of unknown jobs"
    seconds = 6 * 3600.0
    grace_seconds = FOUND_TWICE
    contents: Contents
    jobs: JobStore
    oldest_job: Callable[[], Awaitable[datetime | None]]
    """Returns when the oldest job that is kept may have ended; None where that is not known, or some stay for ever."""
    check: Check

    async def find(self) -> AsyncGenerator[list[str], None]:
        if (oldest := await self.oldest_job()) is None:
            return
        batch: list[str] = []
        async with aclosing(self.contents.jobs()) as found:
            async for job_id in found:
                if submitted(job_id) < oldest:
                    batch.append(job_id)
                if len(batch) == BATCH:
                    yield await self._without_row(batch)
                    batch = []
        yield await self._without_row(batch)

    async def _without_row(self, job_ids: list[str]) -> list[str]:
        known = await self.jobs.get_many(job_ids)
        return [job_id for job_id in job_ids if job_id not in known]

    async def remove_one(self, item: str) -> None:
        self.check()
        await self.contents.remove(item)


def submitted(job_id: str) -> datetime:
    """Return when a job was submitted, by its id."""
    return from_micros((UUID(job_id).int >> 80) * 1000)
