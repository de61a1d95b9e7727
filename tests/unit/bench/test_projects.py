"""The counts of pytest, the list of projects, and the table."""

from pathlib import Path
from typing import Any

import pytest

from bench.projects.counts import as_reported, counts_in
from bench.projects.sources import read_list
from bench.projects.table import is_match, is_report_match, write_table
from tests.engine.images import COMPILER_IMAGE, DEFAULT_IMAGE


@pytest.mark.parametrize(
    ("log", "counts"),
    [
        ("===== 54 passed in 0.21s =====", {"passed": 54}),
        ("12 passed, 1 warning in 0.50s", {"passed": 12}),
        ("= 3 failed, 118 passed, 3 subtests passed in 1.70s =", {"failed": 3, "passed": 118}),
        ("\x1b[31m= \x1b[1m1 failed\x1b[0m, 2 passed, 2 errors in 61.02s (0:01:01) =\x1b[0m\r\n",
         {"failed": 1, "passed": 2, "error": 2}),
        ("= 3 passed in 1.00s =\n= 4 passed, 1 xfailed in 1.00s =\n", {"passed": 7, "xfailed": 1}),
        ("== test session starts ==\n= test session starts =\n= 1 failed in 0.01s =\n= 1 failed, 2 passed in 1.00s =\n",
         {"failed": 1, "passed": 2}),
        ("a test that prints 3 passed in 4 s\nERROR: usage", {}),
    ],
)  # fmt: skip
def test_counts(log: str, counts: dict[str, int]) -> None:
    assert counts_in(log) == counts


def test_the_list_names_each_project_once_with_a_digest() -> None:
    sources = read_list()
    assert len({source.name for source in sources}) == len(sources)
    assert all(len(source.sha256) == 64 for source in sources)
    assert {source.image for source in sources} == {DEFAULT_IMAGE, COMPILER_IMAGE}, "those that can be had"


def result(*counts: dict[str, int]) -> dict[str, Any]:
    run = {"seconds": 1.0, "hit": True, "start_way": "warm", "note": ""}
    return {name: {**run, "counts": of} for name, of in zip(("first", "second", "outside"), counts, strict=True)}


def test_a_match_has_the_same_counts_in_all_runs() -> None:
    assert is_match(result({"passed": 1}, {"passed": 1}, {"passed": 1}))
    assert not is_match(result({"passed": 1}, {"failed": 1}, {"passed": 1}))
    assert not is_match(result({}, {}, {}))


def test_a_report_has_expected_failures_as_skipped_tests() -> None:
    printed = {"passed": 2, "xpassed": 1, "xfailed": 3, "skipped": 1, "error": 1}
    read = {"total": 8, "passed": 3, "failed": 0, "errors": 1, "skipped": 4}
    assert as_reported(printed) == read
    assert is_report_match({"reported": {"printed": printed, "read": read}})
    assert not is_report_match({"reported": {"printed": {"passed": 3}, "read": read}})
    assert not is_report_match({"reported": {"printed": {}, "read": None}})


def test_the_table_has_a_row_for_each_result(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- projects -->\nold\n<!-- end of projects -->\nafter\n")
    source = read_list()[0]
    write_table(page, read_list(), {source.name: result({"passed": 1}, {"passed": 1}, {"passed": 2})})
    text = page.read_text()
    assert "1 projects: 0 with the same counts, 1 prepared in the second run, 1 of them warm." in text
    assert f"| {source.requirement} |" in text
    assert "| 1 passed | 2 passed | not run |" in text
    assert "old" not in text
