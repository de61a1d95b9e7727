"""Where the figures come from: each source yields metrics, and every format is written from the one list of all."""

import os
from collections.abc import Awaitable, Callable, Iterable

from ci_persistence.metrics import Figures
from ci_server.metrics.model import Kind, Metric, Sample
from ci_server.metrics.stages import stages
from ci_server.services import Services

Source = Callable[[Services], Awaitable[Iterable[Metric]]]
"""Measures something. Raises Unavailable."""

_MICROS = 1_000_000
_CONCLUSIONS = ("succeeded", "failed", "cancelled", "timed_out", "errored")
_WAYS = ("warm", "cold", "pull")


async def jobs(services: Services) -> list[Metric]:
    """What became of the jobs. From the database, so that it does not matter which process answers."""
    figures = await services.figures.figures()
    return [*_counters(figures), *_gauges(figures)]


def _counters(figures: Figures) -> Iterable[Metric]:
    by_conclusion = {name: getattr(figures, name) for name in _CONCLUSIONS}
    by_way = {name: getattr(figures, name) for name in _WAYS}
    seconds = figures.ran_micros / _MICROS
    average = seconds * 1000 / figures.ran if figures.ran else None
    yield _plain("ci_jobs_submitted", "counter", "Jobs submitted.", figures.submitted, "total_submitted")
    yield Metric(
        "ci_jobs_completed",
        "counter",
        "Jobs completed, by conclusion.",
        tuple(Sample(number, {"conclusion": name}) for name, number in by_conclusion.items()),
        by_conclusion,
    )
    yield _plain("ci_job_retries", "counter", "Attempts after a job's first.", figures.retried, "retries")
    yield Metric(
        "ci_job_starts",
        "counter",
        "Attempts started in a container or process, by how they got it.",
        tuple(Sample(number, {"way": name}) for name, number in by_way.items()),
        {"starts": by_way},
    )
    yield Metric(
        "ci_job_run_seconds",
        "summary",
        "How long completed jobs ran in their last attempts.",
        (Sample(seconds, suffix="_sum"), Sample(figures.ran, suffix="_count")),
        {"avg_duration_ms": average},
    )


def _gauges(figures: Figures) -> Iterable[Metric]:
    waiting = figures.queued + figures.starting
    yield _plain("ci_jobs_queued", "gauge", "Jobs that wait, those being started included.", waiting, "queued")
    yield _plain("ci_jobs_starting", "gauge", "Jobs that are being started.", figures.starting, "starting")
    yield _plain("ci_jobs_running", "gauge", "Jobs that run.", figures.running, "running")
    yield _plain(
        "ci_removals_pending",
        "gauge",
        "Deleted jobs whose files are still there.",
        figures.removals,
        "pending_removals",
    )
    yield Metric(
        "ci_controller_leads",
        "gauge",
        "Whether a controller leads that is not known to be dead.",
        (Sample(int(figures.leads)),),
        {"controller_leads": figures.leads},
    )
    yield _plain(
        "ci_controller_terms", "counter", "Times a controller began to lead.", figures.term, "controller_terms"
    )


async def pool(services: Services) -> list[Metric]:
    """The containers that wait for jobs."""
    state = await services.repository.pool()
    starting = sum(kind.starting for kind in state.kinds)
    return [
        _plain("ci_pool_size", "gauge", "The most containers that may wait for jobs.", state.size, "pool_size"),
        _plain("ci_pool_waiting", "gauge", "Containers that wait for jobs.", state.waiting, "pool_waiting"),
        _plain("ci_pool_starting", "gauge", "Containers on their way to wait.", starting, "pool_starting"),
    ]


async def disks(services: Services) -> list[Metric]:
    """The room there is."""
    free = {str(path): size for path, size in services.disk.free().items()}
    samples = tuple(Sample(size, {"path": path}) for path, size in free.items())
    return [Metric("ci_disk_free_bytes", "gauge", "Free room on the disk.", samples, {"disk_free_bytes": free})]


async def this_process(services: Services) -> list[Metric]:
    """What only the process that answers knows, under its own name."""
    process = {"process": str(os.getpid())}
    uploads, streams = services.admission.uploads, services.tails.readers
    return [
        Metric("ci_uploads", "gauge", "Uploads under way.", (Sample(uploads, process),), {"uploads": uploads}),
        Metric(
            "ci_log_streams", "gauge", "Open streams of jobs.", (Sample(streams, process),), {"log_streams": streams}
        ),
    ]


SOURCES: tuple[Source, ...] = (jobs, stages, pool, disks, this_process)


async def measured(services: Services) -> list[Metric]:
    """Return all metrics. Raises Unavailable."""
    return [metric for source in SOURCES for metric in await source(services)]


def _plain(name: str, kind: Kind, text: str, value: int, key: str) -> Metric:
    return Metric(name, kind, text, (Sample(value),), {key: value})
