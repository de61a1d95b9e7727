"""Whose turn it is: projects take turns within a priority, so that the long queue of one starves no other.

A job takes a turn of its project, or of its owner if it has no project. The project that holds the fewest slots comes
first, and of several with as many, the one whose last turn is the longest ago. The jobs of one project start in the
order of their submission.
"""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from ci_common.jobs import Job

Share = tuple[str | None, str]
"""Who takes turns: a project, with the jobs of all owners in it, or else an owner."""
MOST_SHARES: Final = 10_000
"""How many last turns are remembered. Those that are forgotten come first, as those that never had a turn do."""


def share_of(project: str | None, owner: str) -> Share:
    """Return who takes a turn with a job of this project and owner."""
    return (None, owner) if project is None else (project, "")


class Turns:
    """The last turns of projects and owners, of one term of leadership."""

    def __init__(self) -> None:
        self._last: dict[Share, int] = {}
        self.count = 0
        """How many turns were taken."""
        self.are_known = False
        """Whether `remember` has been told of the turns of earlier terms."""

    def remember(self, shares: Iterable[Share]) -> None:
        """Note the turns that were taken before this term, the oldest first."""
        for share in shares:
            self._note(share)
        self.are_known = True

    def took(self, job: Job) -> None:
        """Note that the job gets a slot."""
        self._note(share_of(job.project, job.owner))

    def order(self, queued: Sequence[Job], active: Iterable[Job]) -> Iterator[Job]:
        """Yield the jobs in the order in which they may start; `queued` has higher priorities first, then older jobs.

        `active` are the jobs that hold slots. The caller calls `took` for a job that starts before it takes the next
        one: a job that cannot start yet costs its project no turn.
        """
        held = Counter(share_of(job.project, job.owner) for job in active)
        for _, level in groupby(queued, key=attrgetter("priority")):
            yield from self._order_level(level, held)

    def _order_level(self, level: Iterable[Job], held: Counter[Share]) -> Iterator[Job]:
        waiting: defaultdict[Share, deque[Job]] = defaultdict(deque)
        for job in level:
            waiting[share_of(job.project, job.owner)].append(job)
        heap = [self._rank(share, held, jobs) for share, jobs in waiting.items()]
        heapq.heapify(heap)
        while heap:
            _, before, _, share = heapq.heappop(heap)
            jobs = waiting[share]
            yield jobs.popleft()
            held[share] += self._last.get(share, 0) != before
            if jobs:
                heapq.heappush(heap, self._rank(share, held, jobs))

    def _rank(self, share: Share, held: Counter[Share], jobs: deque[Job]) -> tuple[int, int, str, Share]:
        return held[share], self._last.get(share, 0), jobs[0].id, share

    def _note(self, share: Share) -> None:
        self.count += 1
        self._last.pop(share, None)  # So that the oldest turn stays the first.
        self._last[share] = self.count
        if len(self._last) > MOST_SHARES:
            del self._last[next(iter(self._last))]
