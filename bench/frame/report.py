"""The run's results as Markdown."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.figures import table
from bench.frame.model import Figure, Results, Series
from bench.frame.targets import TARGETS, Target, quantity, rows, times

_TARGETS = ("figure", "ours", "reference's", "ratio", "target", "met")
_FIGURES = ("figure", "whose", "samples", "p50", "p90", "p99", "least to most", "ratio")


def report(results: Results, about: Mapping[str, str], plots: Mapping[str, Path], *, is_whole: bool = True) -> str:
    """Return the report. `about` describes the machine; `plots` are by family, relative to the page.

    That of a part of the families leaves out the targets of the others.
    """
    targets = tuple(target for target in TARGETS if is_whole or results.figure(target.key) is not None)
    parts = [table(("of this run", ""), about.items()), "### What it must show", _table_of_targets(results, targets)]
    for name, title in results.titles.items():
        parts += [f"### {title}", *_family(results, name, plots.get(name))]
    if results.limits:
        parts += ["### Limits of this machine", _table_of_limits(results)]
    return "\n\n".join(parts)


def _table_of_targets(results: Results, targets: tuple[Target, ...]) -> str:
    lines = ((row.title, row.ours, row.reference, row.ratio, row.target, row.met) for row in rows(results, targets))
    return table(_TARGETS, lines)


def _family(results: Results, name: str, plot: Path | None) -> Iterator[str]:
    figures = results.figures.get(name, [])
    if figures:
        yield table(_FIGURES, (line for figure in figures for line in _lines(figure)))
    if plot is not None:
        yield f"![{results.titles[name]}]({plot})"
    yield from results.notes.get(name, [])


def _lines(figure: Figure) -> Iterator[tuple[str, ...]]:
    yield (figure.title, *_series(figure.ours, figure.unit), "")
    if figure.reference is not None:
        yield ("", *_series(figure.reference, figure.unit), _ratio(figure))


def _series(series: Series, unit: str) -> tuple[str, ...]:
    percentiles = (quantity(series.percentile(percent), unit) for percent in (50, 90, 99))
    extent = f"{quantity(min(series.samples), '')} to {quantity(max(series.samples), '')}" if series.samples else ""
    return (series.name, str(len(series.samples)), *percentiles, extent)


def _ratio(figure: Figure) -> str:
    """Return the ratio of the medians, and the range that holds half of the turns' ratios."""
    turns = Series("", figure.turn_ratios())
    if len(turns.samples) < 4:
        return times(figure.ratio)
    return f"{times(figure.ratio)} ({quantity(turns.percentile(25), '')} to {quantity(turns.percentile(75), '')})"


def _table_of_limits(results: Results) -> str:
    lines = (
        (f"`{key}`", limit.name, quantity(limit.value, limit.unit), f"no figure {limit.better.value}")
        for key, limit in results.limits.items()
    )
    return table(("limit", "what was measured", "value", ""), lines)
