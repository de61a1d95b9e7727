"""Deletes completed jobs, and uploads before them, as the settings on retention say.

A job's age is the time since its end by the wall clock, which may be wrong: were it stepped forward by years, all jobs
would be old at once. So nothing goes by age unless some job ended within the last month, and not just now; then work
and clock have gone along together.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

from ci_common.errors import CiError
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.gc.retention import jobs_due, longest_age, shortest_age, too_many, uploads_due
from ci_controller.gc.strays import Strays
from ci_controller.job_writer import JobWriter
from ci_controller.runtime.protocol import Check
from ci_persistence.retention import Ended, JobRetention

log = logging.getLogger(__name__)

SWEEP_SECONDS = 3600.0
HOURS_BETWEEN_STRAYS = 6
BATCH = 1000
PAUSE_SECONDS = 0.05
"""Between two batches, so that what users ask for comes first."""
MOST_UPLOADS = 1_000_000

MONTH = timedelta(days=30)
JUST_NOW = timedelta(days=1)


class Sweeper:
    """Retention, for as long as one leader leads."""

    def __init__(
        self,
        settings: Settings,
        *,
        writer: JobWriter,
        retention: JobRetention,
        data: DataDirectory,
        strays: Strays,
        check: Check = lambda: None,
    ) -> None:
        """`check` is called before files are deleted, and may forbid it by raising."""
        self._settings = settings
        self._writer = writer
        self._retention = retention
        self._data = data
        self._strays = strays
        self._check = check
        self._dropped: dict[str | None, datetime] = {}
        """By project, until when the uploads of jobs that ended before are gone."""

    async def run(self) -> None:
        """Sweep now and then every hour; strays, for which every directory is looked at, every few hours."""
        for number in count():
            await _attempt(self.sweep)
            await asyncio.sleep(SWEEP_SECONDS)
            if number % HOURS_BETWEEN_STRAYS == 0:
                await _attempt(self.sweep_strays)

    async def sweep(self) -> None:
        """Delete what is older, or more, than is to be kept. Raises StaleWrite, Unavailable, OSError."""
        now = self._writer.clock()
        if await self._trusts(now):
            for where in jobs_due(self._settings, now):
                await self._delete(where)
            for where in uploads_due(self._settings, now):
                await self._drop_uploads(where)
        else:
            await self._say_what_stays(now)
        general = self._settings.max_jobs_per_project.general
        crowded = [] if general is None else await self._retention.crowded_projects(general)
        for where in too_many(self._settings, crowded):
            await self._delete(where)

    async def sweep_strays(self) -> None:
        """Remove directories without a record that are older than any job may get."""
        now, age = self._writer.clock(), longest_age(self._settings)
        if age is not None and await self._trusts(now):
            await self._strays.sweep(now - max(age, JUST_NOW))

    async def _trusts(self, now: datetime) -> bool:
        settled = min(JUST_NOW, shortest_age(self._settings))
        return bool(await self._retention.ended(Ended(since=now - MONTH, before=now - settled), limit=1))

    async def _say_what_stays(self, now: datetime) -> None:
        for where in jobs_due(self._settings, now):
            if await self._retention.ended(where, limit=1):
                log.warning(
                    "nothing is deleted by its age: no job ended within the last %d days, so the clock may be wrong; "
                    "`ci cleanup` deletes all the same",
                    MONTH.days,
                )
                return

    async def _delete(self, where: Ended) -> None:
        number = 0
        while job_ids := await self._retention.ended(where, limit=BATCH):
            number += len(await self._retention.delete(job_ids, lease=self._writer.lease))
            await asyncio.sleep(PAUSE_SECONDS)
        if number:
            log.info("deleted %d jobs that were not to be kept any longer", number)

    async def _drop_uploads(self, where: Ended) -> None:
        job_ids = await self._retention.ended(
            replace(where, since=self._dropped.get(where.project)), limit=MOST_UPLOADS
        )
        for start in range(0, len(job_ids), BATCH):
            self._check()
            await asyncio.to_thread(self._unlink_uploads, job_ids[start : start + BATCH])
            await asyncio.sleep(PAUSE_SECONDS)
        if where.before is not None:
            self._dropped[where.project] = where.before

    def _unlink_uploads(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            self._data.upload(job_id).unlink(missing_ok=True)


async def _attempt(sweep: Callable[[], Awaitable[None]]) -> None:
    try:
        await sweep()
    except (CiError, OSError) as exc:
        log.warning("what is not to be kept cannot be deleted at present: %s", exc)
