"""`GET /metrics`. Each source measures a few metrics; every format is written from the one list of all.

The format is JSON, unless `Accept` prefers one of the text formats.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as PROMETHEUS
from prometheus_client.exposition import generate_latest as prometheus_text
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPEN_METRICS
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics_text
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from ci_common.times import STAGES
from ci_persistence.stores.metrics import STAGE_BOUNDS, Metrics, StageTimes
from ci_server.http.responses import Document, accepted_types
from ci_server.services import Services

_MICROS = 1_000_000
_CONCLUSIONS = ("succeeded", "failed", "cancelled", "timed_out", "errored")
_START_WAYS = ("warm", "cold", "pull")
_BUCKETS = (*(repr(bound / _MICROS) for bound in STAGE_BOUNDS), "+Inf")

_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}
_WRITERS: dict[str, Callable[[Collector], bytes]] = {OPEN_METRICS: open_metrics_text, PROMETHEUS: prometheus_text}
_TYPES = {"application/openmetrics-text": ("1.0.0", OPEN_METRICS), "text/plain": ("0.0.4", PROMETHEUS)}
"""The text formats by media type: version, and the whole content type."""
TEXT_TYPES = tuple(_WRITERS)
"""The content types of the text formats."""
_JSON = ("application/json", "application/*", "*/*")


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric, as the text formats have it and as members of the JSON document."""

    metric: Metric
    members: Mapping[str, object]


Source = Callable[[Services], Awaitable[Iterable[Measured]]]
"""Measures some metrics. Raises Unavailable."""


async def measure(services: Services) -> list[Measured]:
    """Return all metrics. Raises Unavailable."""
    return [measured for source in SOURCES for measured in await source(services)]


async def jobs(services: Services) -> list[Measured]:
    """Measure what became of jobs. From the database, so that any server process gives the same answer."""
    metrics = await services.storage.metrics.metrics()
    return [*_totals(metrics), *_present(metrics)]


def _totals(metrics: Metrics) -> Iterator[Measured]:
    yield _counter("ci_jobs_submitted", "Jobs submitted.", metrics.submitted, "total_submitted")
    by_conclusion = {name: getattr(metrics, name) for name in _CONCLUSIONS}
    completed = CounterMetricFamily("ci_jobs_completed", "Jobs completed, by conclusion.", labels=["conclusion"])
    yield _of_each(completed, by_conclusion, by_conclusion)
    yield _counter("ci_job_retries", "Attempts after a job's first.", metrics.retried, "retries")
    by_way = {name: getattr(metrics, name) for name in _START_WAYS}
    text = "Attempts started in a container or process, by how they got it."
    yield _of_each(CounterMetricFamily("ci_job_starts", text, labels=["way"]), by_way, {"starts": by_way})
    seconds = metrics.ran_micros / _MICROS
    average = seconds * 1000 / metrics.ran if metrics.ran else None
    text = "How long completed jobs ran in their last attempts."
    yield Measured(SummaryMetricFamily("ci_job_run_seconds", text, metrics.ran, seconds), {"avg_duration_ms": average})
    yield _counter("ci_controller_terms", "Times a controller began to lead.", metrics.term, "controller_terms")


def _present(metrics: Metrics) -> Iterator[Measured]:
    waiting = metrics.queued + metrics.starting
    yield _gauge("ci_jobs_queued", "Jobs that wait, those being started included.", waiting, "queued")
    yield _gauge("ci_jobs_starting", "Jobs that are being started.", metrics.starting, "starting")
    yield _gauge("ci_jobs_running", "Jobs that run.", metrics.running, "running")
    yield _gauge(
        "ci_removals_pending", "Deleted jobs whose files are still there.", metrics.removals, "pending_removals"
    )
    yield _gauge(
        "ci_controller_leads",
        "Whether a controller leads that is not known to be dead.",
        metrics.leads,
        "controller_leads",
    )


async def stages(services: Services) -> list[Measured]:
    """Measure how long the stages of jobs take: a histogram for each stage, and for each way in which jobs start."""
    times = await services.storage.metrics.stage_times()
    text = "How long the stages of completed jobs took in their last attempts."
    family = HistogramMetricFamily("ci_job_stage_seconds", text, labels=("stage", "way"))
    members: dict[str, dict[str, Any]] = {stage: {} for stage in STAGES}
    for one in times:
        family.add_metric((one.stage, one.way), _buckets(one), one.micros / _MICROS)
        count = sum(one.counts)
        members[one.stage][one.way or "other"] = {"jobs": count, "avg_ms": one.micros / 1000 / count}
    return [Measured(family, {"stages": members})]


def _buckets(times: StageTimes) -> list[tuple[str, float]]:
    return list(zip(_BUCKETS, accumulate(times.counts), strict=True))


async def pool(services: Services) -> list[Measured]:
    """Measure the containers that wait for jobs."""
    state = await services.storage.pool.get()
    starting = sum(kind.starting for kind in state.kinds)
    return [
        _gauge("ci_pool_size", "The most containers that may wait for jobs.", state.size, "pool_size"),
        _gauge("ci_pool_waiting", "Containers that wait for jobs.", state.waiting, "pool_waiting"),
        _gauge("ci_pool_starting", "Containers on their way to wait.", starting, "pool_starting"),
    ]


async def disks(services: Services) -> list[Measured]:
    """Measure the space of the disks."""
    rooms = {str(path): room for path, room in services.disk.rooms().items()}
    measured = []
    for name, what, values in (
        ("free", "Free room on the disk.", {path: room.free for path, room in rooms.items()}),
        ("size", "Room on the disk, free or not.", {path: room.total for path, room in rooms.items()}),
        ("reserve", "Room that new work leaves free.", {path: room.reserve for path, room in rooms.items()}),
    ):
        family = GaugeMetricFamily(f"ci_disk_{name}_bytes", what, labels=["path"])
        measured.append(_of_each(family, values, {f"disk_{name}_bytes": values}))
    return measured


async def this_process(services: Services) -> list[Measured]:
    """Measure what only the process that answers knows, under its own process id."""
    process = str(os.getpid())
    uploads, streams = services.admission.uploads, services.tails.readers
    return [
        _of_each(
            GaugeMetricFamily("ci_uploads", "Uploads under way.", labels=["process"]),
            {process: uploads},
            {"uploads": uploads},
        ),
        _of_each(
            GaugeMetricFamily("ci_log_streams", "Open streams of jobs.", labels=["process"]),
            {process: streams},
            {"log_streams": streams},
        ),
    ]


SOURCES: tuple[Source, ...] = (jobs, stages, pool, disks, this_process)


def _counter(name: str, text: str, value: int, member: str) -> Measured:
    return Measured(CounterMetricFamily(name, text, value), {member: value})


def _gauge(name: str, text: str, value: int, member: str) -> Measured:
    return Measured(GaugeMetricFamily(name, text, value), {member: value})


def _of_each(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, int], members: Mapping[str, object]
) -> Measured:
    """Return the family with one sample for each value of its one label."""
    for label, value in values.items():
        family.add_metric([label], value)
    return Measured(family, members)


class _Measured(Collector):
    """Metrics that have been measured already, as the exposition takes them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


async def metrics_answer(services: Services, request: Request) -> Response:
    """Return the metrics. Raises Unavailable."""
    measured = await measure(services)
    content_type = chosen_type(request.headers.getlist("accept"))
    if content_type is None:
        return Document({name: value for m in measured for name, value in m.members.items()}, headers=_HEADERS)
    text = _WRITERS[content_type](_Measured(m.metric for m in measured))
    return Response(text, headers={**_HEADERS, "Content-Type": content_type})


def chosen_type(accept: Iterable[str]) -> str | None:
    """Return the text format that these `Accept` headers prefer; None for JSON, also where they accept nothing of ours.

    The library's own choice knows neither JSON nor `q`.
    """
    for media_type, version in accepted_types(accept):
        if media_type in _JSON:
            return None
        if media_type == "text/*":
            return PROMETHEUS
        if media_type in _TYPES and version in ("", _TYPES[media_type][0]):
            return _TYPES[media_type][1]
    return None
