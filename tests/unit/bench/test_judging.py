"""Figures that cannot be true fail the run, whatever they promise."""

import math
from dataclasses import replace

import pytest

from bench.__main__ import verdict
from bench.frame.judging import impossible
from bench.frame.model import Better, Figure, Limit, Results, Series

DURATION = Figure(
    "start.warm",
    "first byte",
    "ms",
    Better.LESS,
    Series("ours", (9.0, 10.0, 11.0)),
    Series("`docker run`", (200.0, 210.0, 220.0)),
    bounds=("gate",),
)
GATE = Limit("opening a FIFO", (0.6, 0.5, 0.7), "ms", Better.LESS)
RATE = Figure(
    "throughput.cold",
    "200 jobs",
    "jobs/s",
    Better.MORE,
    Series("ours", (9.0, 10.0)),
    Series("the engine", (9.5, 10.5)),
    bounds=("engine",),
)
ENGINE = Limit("the engine's best", (9.5, 10.5), "jobs/s", Better.MORE, slack=1.2)


def results(*figures: Figure, **limits: Limit) -> Results:
    return Results(figures={"family": list(figures)}, limits={"gate": GATE, "engine": ENGINE} | limits)


def test_figures_that_can_be_true() -> None:
    assert impossible(results(DURATION, RATE)) == []
    assert verdict([], results(DURATION, RATE)) == 0


@pytest.mark.parametrize(
    ("figure", "told"),
    [
        (
            replace(DURATION, ours=Series("ours", (0.1, 0.4, 9.0))),
            "ours has 0.400 ms, which exceeds what is possible here",
        ),
        (replace(DURATION, reference=Series("docker", (0.4,))), "docker has 0.400 ms, which exceeds"),
        (replace(RATE, ours=Series("ours", (12.7,))), "exceeds what is possible here: 12.6 jobs/s, the engine's best"),
        (replace(RATE, reference_is_limit=True, ours=Series("ours", (10.6,))), "exceeds what is possible here: 10.5"),
        (replace(DURATION, ours=Series("ours", (9.0, -1.0, 10.0))), "samples that cannot be quantities: -1"),
        (replace(DURATION, ours=Series("ours", (9.0, 0.0))), "samples that cannot be quantities: 0"),
        (replace(DURATION, ours=Series("ours", (math.nan,))), "samples that cannot be quantities: nan"),
        (replace(DURATION, ours=Series("ours", ())), "ours has no samples"),
        (replace(DURATION, bounds=("nowhere",)), "its limit nowhere was not measured"),
        (replace(DURATION, bounds=("engine",)), "its limit engine is of another kind: jobs/s, more is better"),
    ],
)
def test_a_figure_that_cannot_be_true_fails_the_run(
    figure: Figure, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = results(RATE, figure)
    assert verdict([], found) == 1
    lines = capsys.readouterr().err.splitlines()
    assert told in lines[0]
    assert all(line.startswith(f"IMPOSSIBLE: {figure.key} ") for line in lines)


def test_as_good_as_the_limit_can_be_true() -> None:
    assert impossible(results(replace(DURATION, ours=Series("ours", (0.5,))))) == []
    assert impossible(results(replace(RATE, ours=Series("ours", (12.6,))))) == []


def test_a_count_may_be_zero() -> None:
    none = replace(DURATION, ours=Series("ours", (0.0,)), bounds=())
    assert impossible(results(none)) != []
    assert impossible(results(replace(none, exact=True))) == []


def test_a_family_that_failed_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(["peers: RuntimeError: gone"], results(DURATION)) == 1
    assert "FAILED: peers: RuntimeError: gone" in capsys.readouterr().err
