"""`GET /queue`: what runs, what waits, and why."""

import asyncio
import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from pydantic import Field
from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.jobs import State
from ci_common.parsing.values import Integer, Line
from ci_common.times import to_rfc3339
from ci_common.wire.queue_answers import QueueView
from ci_common.wire.stream import reason_on_wire
from ci_persistence.stores.queue import Standing
from ci_server.endpoints import Call, Endpoint, RateClass, Reach, json_answer
from ci_server.http.requests import QueryModel
from ci_server.http.responses import Document

_MOST_PROJECTS: Final = 100
_UNKNOWN: Final = "unknown"


class QueueQuery(QueryModel):
    """What `GET /queue` may be asked."""

    project: Line | None = None
    job_id: Line | None = Field(None, description="only this job among `jobs`, wherever it stands")
    limit: Integer = Field(50, ge=0, le=1000, description="how many jobs at most")


async def get_queue(call: Call[QueueQuery, None]) -> Response:
    storage, query = call.services.storage, call.query
    metrics, unfinished, slots = await asyncio.gather(
        storage.metrics.metrics(), storage.queue.standing(), storage.leases.slots()
    )
    positions = await asyncio.to_thread(expected_order, unfinished)
    seen = [job for job in unfinished if call.identity.sees(job.project) and query.project in (None, job.project)]
    states = Counter(job.state for job in seen)
    queued = sorted((job for job in seen if job.state is State.QUEUED), key=lambda job: positions[job.job_id])
    shown = [job for job in queued if query.job_id in (None, job.job_id)][: query.limit]
    return Document(
        {
            "slots": {
                "total": slots or call.services.settings.max_concurrency,
                "used": sum(job.state is not State.QUEUED for job in unfinished),
            },
            "controller_leads": metrics.leads,
            **_numbers(states),
            "reasons": Counter(_UNKNOWN if job.reason is None else job.reason.code for job in queued),
            "projects": _projects(seen),
            "jobs": [_on_wire(job, positions[job.job_id]) for job in shown],
        }
    )


def expected_order(unfinished: Sequence[Standing]) -> dict[str, int]:
    """Return the places of queued jobs in the order in which they are expected to start, from 1.

    By priority, then projects take turns, the one that holds the fewest slots first; then by age. What a job waits for
    besides a slot is not considered. `unfinished` has higher priorities first, then older jobs.
    """
    held = Counter(_share(job) for job in unfinished if job.state is not State.QUEUED)
    queued = (job for job in unfinished if job.state is State.QUEUED)
    ordered = (job for _, level in groupby(queued, key=attrgetter("priority")) for job in _in_turn(level, held))
    return {job.job_id: place for place, job in enumerate(ordered, 1)}


def _in_turn(level: Iterable[Standing], held: Counter[tuple[bool, str]]) -> Iterator[Standing]:
    waiting = defaultdict[tuple[bool, str], deque[Standing]](deque)
    for job in level:
        waiting[_share(job)].append(job)
    heap = [(held[share], jobs[0].job_id, share) for share, jobs in waiting.items()]
    heapq.heapify(heap)
    while heap:
        *_, share = heapq.heappop(heap)
        yield waiting[share].popleft()
        held[share] += 1
        if waiting[share]:
            heapq.heappush(heap, (held[share], waiting[share][0].job_id, share))


def _share(job: Standing) -> tuple[bool, str]:
    """Return who takes a turn with a job: its project, or its owner if it has none."""
    return (False, job.owner) if job.project is None else (True, job.project)


def _numbers(states: Counter[State]) -> dict[str, int]:
    return {str(state): states[state] for state in (State.QUEUED, State.STARTING, State.RUNNING)}


def _projects(seen: Iterable[Standing]) -> list[dict[str, Any]]:
    by_project = defaultdict[str | None, list[Standing]](list)
    for job in seen:
        by_project[job.project].append(job)
    largest = heapq.nlargest(_MOST_PROJECTS, by_project.items(), key=lambda item: len(item[1]))
    return [
        {
            "project": project,
            **_numbers(Counter(job.state for job in jobs)),
            "oldest_submit_time": _oldest(jobs),
        }
        for project, jobs in largest
    ]


def _oldest(jobs: Iterable[Standing]) -> str | None:
    oldest = min((job.submit_time for job in jobs if job.state is State.QUEUED), default=None)
    return None if oldest is None else to_rfc3339(oldest)


def _on_wire(job: Standing, position: int) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "position": position,
        "project": job.project,
        "priority": job.priority,
        "submit_time": to_rfc3339(job.submit_time),
        "reason": reason_on_wire(job.reason),
    }


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/queue",
        handler=get_queue,
        query=QueueQuery,
        summary="Get the queue",
        description=(
            "what runs and what waits, of the jobs that the sender may see: slots, numbers by project and by "
            "[reason](reasons.md), and the queued jobs with their positions, of `project` or only `job_id`. Projects "
            "[take turns](ci-yaml.md#turns), so a position may change in both directions"
        ),
        answers={200: json_answer(QueueView, "The queue.")},
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        limits=Reach.VISIBLE,
    ),
)
