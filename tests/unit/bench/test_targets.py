"""The table of targets is computed from the figures alone."""

import math

import pytest

from bench.frame.model import Better, Figure, Results, Series
from bench.frame.targets import TARGETS, Target, quantity, rows, times


def figure(key: str, ours: tuple[float, ...], reference: tuple[float, ...] | None, better: Better, unit: str) -> Figure:
    other = None if reference is None else Series("`docker run`", reference)
    return Figure(key, "a title", unit, better, Series("ours", ours), other)


def row_of(target: Target, *figures: Figure) -> tuple[str, ...]:
    (row,) = rows(Results(figures={"family": list(figures)}), (target,))
    return (row.title, row.ours, row.reference, row.ratio, row.target, row.met)


@pytest.mark.parametrize(
    ("better", "ours", "reference", "ratio", "met"),
    [
        (Better.LESS, 10.0, 100.0, "10.0 times", "yes"),
        (Better.LESS, 10.1, 100.0, "9.90 times", "**no**"),
        (Better.MORE, 100.0, 10.0, "10.0 times", "yes"),
        (Better.MORE, 99.0, 10.0, "9.90 times", "**no**"),
    ],
)
def test_a_ratio_is_how_many_times_better(better: Better, ours: float, reference: float, ratio: str, met: str) -> None:
    shown = row_of(Target("warm", "it", ratio=10), figure("it", (ours,), (reference,), better, "ms"))
    assert shown[0] == "warm"
    assert shown[2] == f"{quantity(reference, 'ms')}, `docker run`"
    assert shown[3:] == (ratio, "at least 10 times", met)


def test_medians_are_compared_and_not_the_best() -> None:
    shown = row_of(Target("warm", "it", ratio=10), figure("it", (1.0, 20.0, 30.0), (100.0,), Better.LESS, "ms"))
    assert shown[1:4] == ("20.0 ms", "100 ms, `docker run`", "5.00 times")


def test_a_percentile_has_its_own_row() -> None:
    many = figure("end", tuple(float(n) for n in range(1, 101)), None, Better.LESS, "ms")
    assert row_of(Target("p99", "end", bound=15, percent=99), many)[1:] == (
        "99.0 ms",
        "",
        "",
        "at most 15 ms",
        "**no**",
    )
    assert row_of(Target("p10", "end", bound=15, percent=10), many)[1] == "10.0 ms"


def test_a_share_is_to_be_at_least() -> None:
    target = Target("all", "whole", bound=100, unit="%", better=Better.MORE)
    assert row_of(target, figure("whole", (100.0,), None, Better.MORE, "%"))[4:] == ("at least 100 %", "yes")
    assert row_of(target, figure("whole", (99.9,), None, Better.MORE, "%"))[5] == "**no**"


def test_a_figure_without_its_reference_does_not_meet_a_ratio() -> None:
    assert row_of(Target("warm", "it", ratio=0.5), figure("it", (1.0,), None, Better.LESS, "ms"))[5] == "**no**"


def test_a_figure_that_was_not_measured_keeps_its_row() -> None:
    assert row_of(Target("warm", "it", ratio=10)) == ("warm", "", "", "", "at least 10 times", "not measured")


def test_every_row_of_the_table_says_what_it_wants() -> None:
    assert [target for target in TARGETS if (target.ratio is None) == (target.bound is None)] == []
    assert len({(target.key, target.percent) for target in TARGETS}) == len(TARGETS)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.03812, "0.038"), (1.234, "1.23"), (12.34, "12.3"), (149.4, "149"), (31000.0, "31,000"), (0.0, "0"),
     (math.nan, "")],
)  # fmt: skip
def test_as_many_digits_as_mean_something(value: float, shown: str) -> None:
    assert quantity(value, "") == shown
    assert times(math.nan) == ""
