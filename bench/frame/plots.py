"""A plot per family: every sample of every series, with its median. Needs matplotlib, from the extra `bench`."""

import math
from pathlib import Path
from typing import Any

from bench.frame.model import Figure, Results, Series
from bench.frame.targets import TARGETS, Target, quantity

_OURS, _REFERENCE, _GOAL, _LIMIT = "#1b6ca8", "#8a8a8a", "#2e8b57", "#b03030"


def draw(results: Results, name: str, target: Path) -> None:
    """Draw a family's figures, one below the other, into a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figures = results.figures[name]
    heights = [len(_series(figure)) + 1.2 for figure in figures]
    canvas, axes = pyplot.subplots(
        len(figures),
        1,
        figsize=(8, 0.8 + 0.45 * sum(heights)),
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )
    canvas.suptitle(results.titles[name])
    for figure, axis in zip(figures, axes[:, 0], strict=True):
        _draw_figure(axis, figure, results)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Without the version in it, the file has the same bytes everywhere for the same samples.
    canvas.savefig(target, dpi=110, metadata={"Software": None})
    pyplot.close(canvas)


def _series(figure: Figure) -> list[Series]:
    return [figure.ours] if figure.reference is None else [figure.ours, figure.reference]


def _draw_figure(axis: Any, figure: Figure, results: Results) -> None:
    series = _series(figure)
    for row, one in enumerate(series):
        colour = _OURS if row == 0 else _REFERENCE
        # Spread by index, not randomly, so that the same samples give the same picture.
        heights = [row + 0.36 * ((index * 0.618) % 1 - 0.5) for index in range(len(one.samples))]
        axis.scatter(one.samples, heights, s=14, color=colour, alpha=0.5, linewidths=0)
        axis.plot([one.median] * 2, [row - 0.32, row + 0.32], color=colour, linewidth=2)
        text = quantity(one.median, figure.unit)
        axis.annotate(text, (one.median, row - 0.34), ha="center", va="bottom", fontsize=8, color=colour)
    for value, colour, label in _lines(figure, results):
        axis.axvline(value, color=colour, linestyle="--", linewidth=1, label=label)
    smallest = min(sample for one in series for sample in one.samples)
    if smallest > 0:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda value, _: quantity(value, ""))
        axis.xaxis.set_minor_formatter(lambda *_: "")
    axis.set_yticks(range(len(series)), [one.name.replace("`", "") for one in series])
    axis.set_ylim(len(series) - 0.4, -0.7)
    axis.set_title(f"{figure.title}, {figure.unit} ({figure.better.value} is better)", fontsize=9, loc="left")
    axis.grid(axis="x", alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7, loc="best")


def _lines(figure: Figure, results: Results) -> list[tuple[float, str, str]]:
    """Return the figure's targets and limits as lines."""
    targets = (target for target in TARGETS if target.key == figure.key)
    lines = [(value, _GOAL, "target") for target in targets if not math.isnan(value := _goal(target, figure))]
    limits = (results.limits[key] for key in figure.bounds if key in results.limits)
    return lines + [(limit.value, _LIMIT, f"limit: {limit.name}") for limit in limits]


def _goal(target: Target, figure: Figure) -> float:
    if target.bound is not None:
        return target.bound
    if figure.reference is None or not target.ratio:
        return math.nan
    return figure.reference.median * target.ratio ** (1 if figure.better.value == "more" else -1)
