"""Detects figures that cannot be true. They show that the measurement is wrong, so the run fails."""

import math
from collections.abc import Iterator

from bench.frame.model import Better, Figure, Limit, Results, Series
from bench.frame.targets import quantity


def impossible(results: Results) -> list[str]:
    """Return what cannot be true, for people; nothing if all figures can be true."""
    return [
        f"{figure.key} ({figure.title}): {fault}"
        for figures in results.figures.values()
        for figure in figures
        for fault in _faults(figure, results.limits)
    ]


def _faults(figure: Figure, limits: dict[str, Limit]) -> Iterator[str]:
    for series in (figure.ours, figure.reference):
        if series is not None:
            yield from _unreal(figure, series)
            for key in figure.bounds:
                yield from _beyond(figure, series, limits.get(key), key)
    if figure.reference_is_limit and figure.reference is not None:
        most = Limit(figure.reference.name, figure.reference.samples, figure.unit, figure.better)
        yield from _beyond(figure, figure.ours, most, "reference")


def _unreal(figure: Figure, series: Series) -> Iterator[str]:
    if not series.samples:
        yield f"{series.name} has no samples"
    least = 0.0 if figure.exact else math.ulp(0.0)
    wrong = [sample for sample in series.samples if not (math.isfinite(sample) and sample >= least)]
    if wrong:
        yield f"{series.name} has samples that cannot be quantities: {', '.join(f'{sample:g}' for sample in wrong[:5])}"


def _beyond(figure: Figure, series: Series, limit: Limit | None, key: str) -> Iterator[str]:
    if limit is None or not limit.samples:
        yield f"its limit {key} was not measured, so it is unknown whether it can be true"
    elif (limit.unit, limit.better) != (figure.unit, figure.better):
        yield f"its limit {key} is of another kind: {limit.unit}, {limit.better.value} is better"
    elif (series.median < limit.value) if figure.better is Better.LESS else (series.median > limit.value):
        yield (
            f"{series.name} has {quantity(series.median, figure.unit)}, which exceeds what is possible here: "
            f"{quantity(limit.value, figure.unit)}, {limit.name}"
        )
