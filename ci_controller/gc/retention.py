"""Which jobs the settings on retention want gone, as questions to the repository. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from ci_common.jobs import Conclusion
from ci_common.retention import FAILURES, Limit
from ci_common.settings import Settings
from ci_persistence.retention import Ended

_OTHERS = frozenset(Conclusion) - FAILURES


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
