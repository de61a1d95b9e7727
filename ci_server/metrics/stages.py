"""How long the stages of jobs' paths take: a histogram for each stage, and for each way in which jobs start."""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from ci_persistence.metrics import STAGE_BOUNDS, STAGES, StageTimes
from ci_server.metrics.model import Metric, Sample
from ci_server.services import Services

_MICROS = 1_000_000
_LABELS = (*(repr(bound / _MICROS) for bound in STAGE_BOUNDS), "+Inf")


async def stages(services: Services) -> list[Metric]:
    """From the database, where it is counted as jobs complete."""
    times = await services.figures.stages()
    return [
        Metric(
            "ci_job_stage_seconds",
            "histogram",
            "How long the stages of completed jobs took in their last attempts.",
            tuple(sample for one in times for sample in _samples(one)),
            {"stages": _shown(times)},
        )
    ]


def _samples(one: StageTimes) -> Iterator[Sample]:
    labels = {"stage": one.stage, "way": one.way}
    total = 0
    for bound, total in zip(_LABELS, accumulate(one.counts), strict=True):
        yield Sample(total, {**labels, "le": bound}, "_bucket")
    yield Sample(one.micros / _MICROS, labels, "_sum")
    yield Sample(total, labels, "_count")


def _shown(times: Iterable[StageTimes]) -> dict[str, dict[str, Any]]:
    """Return number and average of each stage, by the way in which jobs started."""
    shown: dict[str, dict[str, Any]] = {stage: {} for stage in STAGES}
    for one in times:
        count = sum(one.counts)
        shown[one.stage][one.way or "other"] = {"jobs": count, "avg_ms": one.micros / 1000 / count}
    return shown
