"""The protocol of deletion: a deleted job leaves a removal until its containers and files are removed as well.

One statement deletes a completed job, and leaves a `Removal` in the same transaction. From then on the job does not
exist for any reader. The leading controller removes containers and files, and then the removal. So a crash in between
never leaves files that no record names.

`SQLiteJobRepository` implements it; the suite in tests/contracts runs against it. Every method may raise `Unavailable`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ci_common.jobs import Conclusion
from ci_persistence.repository import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Which completed jobs `ended` returns; None and empty do not narrow."""

    project: str | None = None
    other_than: frozenset[str] = frozenset()
    """No job of these projects. Jobs that belong to no project are included."""
    conclusions: frozenset[Conclusion] = frozenset()
    with_upload: bool = False
    """Only jobs that came with an upload."""
    since: datetime | None = None
    """Ended then or later."""
    before: datetime | None = None
    """Ended earlier."""
    keep: int = 0
    """Leave out this many of the newest jobs that project, conclusions and upload narrow to, whenever they ended."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A deleted job whose containers or files are not all removed yet."""

    job_id: str
    runtimes: frozenset[str]
    """The runtimes of all its attempts; empty where no attempt had one."""


class JobRetention(Protocol):
    """Deletes completed jobs, and keeps track of what is still to be removed."""

    async def ended(self, where: Ended, *, limit: int) -> list[str]:
        """Return the ids of at most `limit` completed jobs, in the order in which they ended."""

    async def crowded_projects(self, more_than: int) -> list[str]:
        """Return the projects that have more than `more_than` completed jobs."""

    async def delete(self, job_ids: Iterable[str], *, lease: Lease | None = None) -> list[str]:
        """Delete those of the jobs that have completed, and return their ids in the same order. Each leaves a removal.

        Durable once it returns. Many jobs are deleted in several short transactions, so that other writers do not wait
        long. With `lease`, deletes only while it leads: raises StaleWrite otherwise, perhaps after some transactions.
        """

    async def removals(self, *, after: str = "", limit: int) -> list[Removal]:
        """Return at most `limit` removals in the order of their job ids, from behind `after`."""

    async def count_removals(self) -> int:
        """Return how many removals there are."""

    async def forget_removals(self, job_ids: Iterable[str], lease: Lease) -> None:
        """Delete the removals of jobs of which nothing is left. Raises StaleWrite where `lease` does not lead."""
