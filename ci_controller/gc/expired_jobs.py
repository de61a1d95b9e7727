"""Completed jobs, and uploads before them, that the settings on retention do not keep.

A job's age is the time since its end by the wall clock, which may be wrong: if it were set forward by years, all jobs
would be old at once. So nothing goes by age unless some job ended within the last month, and not just now: then work
and clock have gone along together.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ci_common.configuration.limits import Limit
from ci_common.configuration.retention import FAILURES
from ci_common.jobs import Conclusion
from ci_common.manifests.session import spare_workspace
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.sharing.projects import with_projects
from ci_common.system.trees import delete_tree
from ci_common.times import Clock
from ci_controller.gc.runner import Collector
from ci_controller.runtime.protocol import Check
from ci_persistence.stores.access.projects import ProjectStore
from ci_persistence.stores.audit import AuditStore
from ci_persistence.stores.leases import Lease
from ci_persistence.stores.outbox import OutboxStore
from ci_persistence.stores.retention import Ended, RetentionStore
from ci_persistence.stores.submissions import SubmissionStore

log = logging.getLogger(__name__)

BATCH = 1000
MOST_UPLOADS = 1_000_000

_OTHERS = frozenset(Conclusion) - FAILURES
MONTH = timedelta(days=30)
JUST_NOW = timedelta(days=1)
KEYS_KEPT = timedelta(days=1)
"""How long a submission can be sent again without making a second job."""
EVENTS_KEPT = timedelta(days=7)
"""How long entries stay in the outbox. A reader that was away for longer has to look at the jobs themselves."""


@dataclass(frozen=True)
class Ages:
    """Which jobs are old, as far as the clock can be trusted."""

    settings: Settings
    retention: RetentionStore
    clock: Clock
    projects: ProjectStore | None = None
    """The projects whose own retention counts; None if only the settings do."""

    async def present(self) -> Settings:
        """Return the settings with the retention of the projects as it is now."""
        return self.settings if self.projects is None else with_projects(self.settings, await self.projects.list())

    async def trusted_now(self) -> datetime | None:
        """Return the time, None where the clock may be wrong."""
        now = self.clock()
        settled = min(JUST_NOW, shortest_age(await self.present()))
        ended = await self.retention.ended(Ended(since=now - MONTH, before=now - settled), limit=1)
        return now if ended else None

    async def oldest_job(self) -> datetime | None:
        """Return when the oldest job that is kept may have ended; None where some are kept for ever."""
        now, age = await self.trusted_now(), longest_age(await self.present())
        return None if now is None or age is None else now - max(age, JUST_NOW)


@dataclass(eq=False)
class ExpiredJobs(Collector[str]):
    """Completed jobs that are older, or more, than are to be kept."""

    name = "expired jobs"
    ages: Ages
    lease: Lease

    async def find(self) -> AsyncGenerator[list[str], None]:
        settings, retention, now = await self.ages.present(), self.ages.retention, await self.ages.trusted_now()
        by_age = list(jobs_due(settings, now or self.ages.clock()))
        if now is None:
            if any([await retention.ended(where, limit=1) for where in by_age]):
                log.warning(
                    "nothing is deleted by its age: no job ended within the last %d days, so the clock may be wrong; "
                    "`ci cleanup` deletes all the same",
                    MONTH.days,
                )
            by_age = []
        general = settings.max_jobs_per_project.general
        crowded = [] if general is None else await retention.crowded_projects(general)
        for where in [*by_age, *too_many(settings, crowded)]:
            while job_ids := await retention.ended(where, limit=BATCH):
                yield job_ids

    async def remove(self, items: list[str]) -> dict[str, Exception]:
        deleted = await self.ages.retention.delete(items, lease=self.lease)
        log.info("deleted %d jobs that were not to be kept any longer", len(deleted))
        return {}


@dataclass(eq=False)
class ExpiredUploads(Collector[str]):
    """Uploads of jobs that are kept themselves."""

    name = "expired uploads"
    ages: Ages
    data: DataDirectory
    check: Check
    """Called before files are deleted; may forbid it by raising."""
    deleted: dict[str | None, datetime] = field(default_factory=dict)
    """By project, until when the uploads of jobs that ended before are gone."""
    limit: Limit[float] | None = None
    """The retention of uploads in the last round."""

    async def find(self) -> AsyncGenerator[list[str], None]:
        if (now := await self.ages.trusted_now()) is None:
            return
        settings = await self.ages.present()
        if self.limit != settings.upload_retention:
            self.limit = settings.upload_retention  # Another one may count for what was looked at before.
            self.deleted.clear()
        for where in uploads_due(settings, now):
            where = replace(where, since=self.deleted.get(where.project))
            job_ids = await self.ages.retention.ended(where, limit=MOST_UPLOADS)
            for start in range(0, len(job_ids), BATCH):
                yield job_ids[start : start + BATCH]
            if where.before is not None:
                self.deleted[where.project] = where.before

    async def remove(self, items: list[str]) -> dict[str, Exception]:
        def unlink() -> None:
            for job_id in items:
                self.data.upload(job_id).unlink(missing_ok=True)
                for path in (self.data.stored_upload(job_id), spare_workspace(self.data.job(job_id))):
                    delete_tree(path)

        self.check()
        await asyncio.to_thread(unlink)
        return {}


@dataclass(eq=False)
class OldKeys(Collector[int]):
    """Keys of submissions that no client sends again any more."""

    name = "old keys of submissions"
    ages: Ages
    submissions: SubmissionStore

    async def find(self) -> AsyncGenerator[list[int], None]:
        if (now := await self.ages.trusted_now()) is None:
            return
        while deleted := await self.submissions.prune(now - KEYS_KEPT, limit=BATCH):
            yield [deleted]

    async def remove_one(self, item: int) -> None:
        """Do nothing, as for events."""


@dataclass(eq=False)
class OldAudit(Collector[int]):
    """Entries of the audit that are older than they are to be kept. The chain of the others stays whole."""

    name = "old entries of the audit"
    ages: Ages
    audit: AuditStore
    lease: Lease

    async def find(self) -> AsyncGenerator[list[int], None]:
        now, age = await self.ages.trusted_now(), self.ages.settings.audit_retention.general
        if now is None or age is None:
            return
        while removed := await self.audit.remove(_ago(now, age), self.lease, limit=BATCH):
            yield [removed]

    async def remove_one(self, item: int) -> None:
        """Do nothing, as for events."""


@dataclass(eq=False)
class OldEvents(Collector[int]):
    """Entries of the outbox that every reader has had time for."""

    name = "old events"
    ages: Ages
    outbox: OutboxStore

    async def find(self) -> AsyncGenerator[list[int], None]:
        if (now := await self.ages.trusted_now()) is None:
            return
        while deleted := await self.outbox.prune(now - EVENTS_KEPT, limit=BATCH):
            yield [deleted]

    async def remove_one(self, item: int) -> None:
        """Do nothing: `find` deletes them, since it would be one statement more to look for them first."""


def jobs_due(settings: Settings, now: datetime) -> Iterator[Ended]:
    """Yield the jobs that are older than they may get. Failures are kept for the longer of both ages."""
    kept, failed = settings.retention, settings.retention_failed
    for project, where in _scopes({*kept.projects, *failed.projects}):
        usual, longer = kept.of(project), failed.of(project)
        if usual is not None:
            yield replace(where, conclusions=_OTHERS, before=_ago(now, usual))
            if longer is not None:
                yield replace(where, conclusions=FAILURES, before=_ago(now, max(usual, longer)))


def uploads_due(settings: Settings, now: datetime) -> Iterator[Ended]:
    """Yield the jobs that are older than their uploads may get."""
    for project, where in _scopes(settings.upload_retention.projects):
        age = settings.upload_retention.of(project)
        if age is not None:
            yield replace(where, with_upload=True, before=_ago(now, age))


def too_many(settings: Settings, crowded: Iterable[str]) -> Iterator[Ended]:
    """Yield the jobs that are over a number. `crowded` has the projects that are over the number for every project."""
    numbers = settings.max_jobs_per_project
    for project in sorted({*crowded, *numbers.projects}):
        number = numbers.of(project)
        if number is not None:
            yield Ended(project=project, keep=number)
    if settings.max_jobs.general is not None:
        yield Ended(keep=settings.max_jobs.general)


def shortest_age(settings: Settings) -> timedelta:
    """Return the shortest age at which anything goes."""
    limits = (settings.retention, settings.retention_failed, settings.upload_retention)
    return timedelta(seconds=min((age for limit in limits for age in _ages(limit) if age is not None), default=0))


def longest_age(settings: Settings) -> timedelta | None:
    """Return the longest age that a job may get; None where some are kept for ever."""
    ages = [age for limit in (settings.retention, settings.retention_failed) for age in _ages(limit)]
    finite = [age for age in ages if age is not None]
    return None if len(finite) < len(ages) else timedelta(seconds=max(finite))


def _scopes(projects: Iterable[str]) -> Iterator[tuple[str | None, Ended]]:
    """Yield all jobs but those of `projects`, and then each of these, by the name of the project."""
    names = frozenset(projects)
    yield None, Ended(other_than=names)
    for name in sorted(names):
        yield name, Ended(project=name)


def _ages(limit: Limit[float]) -> list[float | None]:
    return [limit.general, *limit.projects.values()]


def _ago(now: datetime, seconds: float) -> datetime:
    return now - timedelta(seconds=seconds)
