"""The report and the plots, from made-up figures."""

from pathlib import Path

import pytest

from bench import __main__ as program
from bench.figures import write_section
from bench.frame.lab import Lab
from bench.frame.model import Better, Figure, LeftOut, Limit, Results, Series
from bench.frame.report import report
from tests.helpers.markdown import table

GATE = Limit("opening a FIFO", (0.5,), "ms", Better.LESS)
WARM = Figure(
    "start.warm",
    "first byte, warm",
    "ms",
    Better.LESS,
    Series("ci-server", (10.0, 20.0, 10.0, 40.0)),
    Series("`docker run`", (200.0, 200.0, 300.0, 200.0)),
    bounds=("gate",),
)


def made_up() -> Results:
    return Results(
        figures={"start": [WARM]}, titles={"start": "Start"}, limits={"gate": GATE}, notes={"start": ["A note."]}
    )


def test_what_the_report_shows() -> None:
    text = report(made_up(), {"machine": "an abacus"}, {"start": Path("performance/start.png")})
    about, targets, start, limits = (part for part in text.split("\n### "))
    assert table(about) == [("machine", "an abacus")]
    assert table(targets)[0][1:] == (
        "15.0 ms",
        "200 ms, `docker run`",
        "13.3 times",
        "at least 10 times, aim 20",
        "yes",
    )
    assert table(start) == [
        ("first byte, warm", "ci-server", "4", "15.0 ms", "40.0 ms", "40.0 ms", "10.0 to 40.0", ""),
        ("", "`docker run`", "4", "200 ms", "300 ms", "300 ms", "200 to 300", "13.3 times (5.00 to 20.0)"),
    ]
    assert "![Start](performance/start.png)" in start
    assert "A note." in start
    assert table(limits) == [("`gate`", "opening a FIFO", "0.500 ms", "no figure less")]


def test_the_report_goes_between_its_marks_and_the_plot_beside_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    page = tmp_path / "performance.md"
    page.write_text("before\n\n<!-- bench -->\na former run\n<!-- end of bench -->\n\nbehind\n")
    program.publish(made_up(), {"machine": "an abacus"}, page)
    text = page.read_text()
    assert text.startswith("before\n\n<!-- bench -->\n\n| of this run")
    assert text.endswith("\n\n<!-- end of bench -->\n\nbehind\n")
    assert "a former run" not in text
    assert "| machine | an abacus |" in text
    assert text.split("<!-- bench -->")[1].split("<!-- end")[0].strip() == capsys.readouterr().out.strip()
    assert (tmp_path / "performance" / "start.png").read_bytes().startswith(b"\x89PNG")


def test_a_part_of_the_families_has_its_own_marks_and_no_targets_of_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    page = tmp_path / "performance.md"
    page.write_text("<!-- bench -->\nall\n<!-- end of bench -->\n<!-- start -->\n<!-- end of start -->\n")
    program.publish(made_up(), {"machine": "an abacus"}, page, "start", is_whole=False)
    whole, _, part = page.read_text().partition("<!-- start -->")
    assert whole == "<!-- bench -->\nall\n<!-- end of bench -->\n"
    assert "| machine | an abacus |" in part
    assert "not measured" not in capsys.readouterr().out


def test_the_same_samples_give_the_same_picture(tmp_path: Path) -> None:
    plots = pytest.importorskip("bench.frame.plots")
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    for name in ("one.png", "two.png"):
        plots.draw(made_up(), "start", tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(AssertionError, match="has no mark"):
        write_section(page, "bench", "text")


class _Family:
    TITLE = "A family"

    def __init__(self, name: str, outcome: Exception | list[Figure]) -> None:
        self.NAME = name
        self._outcome = outcome

    async def measure(self, lab: Lab) -> list[Figure]:
        lab.note("measured")
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


async def test_one_family_that_fails_does_not_keep_the_others_from_being_measured(tmp_path: Path) -> None:
    lab = Lab(tmp_path, image="an-image", quick=True)
    families = [
        _Family("broken", RuntimeError("gone")),
        _Family("absent", LeftOut("there is none here")),
        _Family("start", [WARM]),
    ]
    assert await program.measure(families, lab) == ["broken: RuntimeError: gone"]
    assert lab.results.figures == {"start": [WARM]}
    assert lab.results.notes["broken"] == ["measured", "**Failed**: RuntimeError: gone"]
    assert lab.results.notes["absent"][1] == "**Left out: the family `absent`**: there is none here."
