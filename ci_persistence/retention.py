"""The protocol of deletion: jobs go whole, and what they leave behind is known until it is gone, too.

A completed job is deleted by one statement, which leaves a note of what remains to be removed in the same transaction.
From then on the job is gone for every reader. Whoever leads removes containers and files, and then the note. So
whatever dies in between, record and files go together, or not at all.

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
    """None of these projects'; those that belong to no project are meant."""
    conclusions: frozenset[Conclusion] = frozenset()
    with_upload: bool = False
    """Only jobs that came with an upload."""
    since: datetime | None = None
    """Ended then or later."""
    before: datetime | None = None
    """Ended earlier."""
    keep: int = 0
    """Not the newest so many of those that project, conclusions and upload narrow to, whenever they ended."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What a deleted job has left behind."""

    job_id: str
    runtimes: frozenset[str]
    """Where its attempts ran; empty where none got so far."""


class JobRetention(Protocol):
    """The completed jobs of one installation, and what deleted ones have left behind."""

    async def ended(self, where: Ended, *, limit: int) -> list[str]:
        """Return the ids of at most `limit` completed jobs, those first that ended first."""

    async def crowded_projects(self, more_than: int) -> list[str]:
        """Return the projects that have more completed jobs than so many."""

    async def delete(self, job_ids: Iterable[str], *, lease: Lease | None = None) -> list[str]:
        """Delete those of the jobs that have completed, and return their ids in the same order. Each leaves a removal.

        Durable once it returns. Many are deleted in several short transactions, so that other writers get their turn.
        With `lease`, only while it leads: raises StaleWrite, and what was deleted by then is.
        """

    async def removals(self, *, after: str = "", limit: int) -> list[Removal]:
        """Return at most `limit` removals by their ids, which sort behind `after`."""

    async def count_removals(self) -> int:
        """Return how many deleted jobs have left something behind."""

    async def forget_removals(self, job_ids: Iterable[str], lease: Lease) -> None:
        """Note that nothing is left of these deleted jobs. Raises StaleWrite where the lease does not lead."""
