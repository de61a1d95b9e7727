"""Coverage as Cobertura and LCOV report it."""

import io
from typing import Any

import pytest

from ci_controller.reports import coverage
from ci_controller.reports.collecting import compared
from ci_controller.reports.coverage import MOST_RANGES, Coverage, ranges
from ci_controller.reports.xml_stream import NotReadable

PREFIX = "/ci/workspace"
# As coverage.py 7 writes it, shortened.
COBERTURA = b"""<?xml version="1.0" ?>
<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage version="7.4" lines-valid="99" lines-covered="98" line-rate="0.99">
  <sources><source>/ci/workspace/src</source></sources>
  <packages><package name="shop"><classes>
    <class name="cart.py" filename="shop/cart.py" line-rate="0.5"><methods/><lines>
      <line number="1" hits="1"/><line number="2" hits="0"/><line number="3" hits="0"/><line number="7" hits="12"/>
    </lines></class>
    <class name="Inner" filename="shop/cart.py"><methods><method name="m"><lines>
      <line number="9" hits="0" branch="true" condition-coverage="50% (1/2)"/></lines></method></methods>
      <lines><line number="9" hits="0"/></lines></class>
    <class name="empty.py" filename="shop/empty.py"><lines/></class>
  </classes></package></packages>
</coverage>"""
# As lcov, c8 and cargo-llvm-cov write it.
LCOV = """TN:
SF:/ci/workspace/src/shop/cart.py
FN:1,(anonymous_0)
FNDA:1,(anonymous_0)
DA:2,4
DA:3,0,Zm9v
BRDA:2,0,0,1
LF:2
LH:1
end_of_record
SF:lib/ä.js
DA:1,0
DA:2,1e3
end_of_record
"""


def read(*reports: bytes | str) -> dict[str, Any]:
    found = Coverage([PREFIX])
    for report in reports:
        if isinstance(report, str):
            found.read_lcov(io.BytesIO(report.encode()), on_chunk=lambda: None)
        else:
            found.read_cobertura(io.BytesIO(report), on_chunk=lambda: None)
    result = found.result()
    assert result is not None
    return result


def file(path: str, lines: int, covered: int, *missing: list[int]) -> dict[str, Any]:
    return {"path": path, "lines": lines, "covered": covered, "missing": list(missing)}


def test_cobertura_counts_lines_and_not_what_it_says_of_itself() -> None:
    found = read(COBERTURA)
    assert found["files"] == [file("src/shop/cart.py", 5, 2, [2, 3], [9, 9])]
    assert (found["lines"], found["covered"], found["files_total"]) == (5, 2, 1)


def test_lcov() -> None:
    assert read(LCOV)["files"] == [file("lib/ä.js", 2, 1, [1, 1]), file("src/shop/cart.py", 2, 1, [3, 3])]


def test_a_line_counts_as_covered_if_one_report_has_seen_it_run() -> None:
    both = [file("lib/ä.js", 2, 1, [1, 1]), file("src/shop/cart.py", 5, 3, [3, 3], [9, 9])]
    assert read(COBERTURA, LCOV)["files"] == both
    assert read(LCOV, COBERTURA)["files"] == both


def test_one_file_by_two_names_is_one() -> None:
    relative = LCOV.replace(f"{PREFIX}/", "")
    assert read("SF:a.py\nDA:1,1\nend_of_record\n", f"SF:{PREFIX}/a.py\nDA:1,0\nDA:2,0\nend_of_record\n")["files"] == [
        file("a.py", 2, 1, [2, 2])
    ]
    assert read(LCOV, relative)["files"] == read(LCOV)["files"]


@pytest.mark.parametrize("sources", [b"<source>/a</source><source>/b</source>", b"<source>.</source>", b""])
def test_without_one_certain_source_a_file_keeps_its_name(sources: bytes) -> None:
    report = COBERTURA.replace(b"<source>/ci/workspace/src</source>", sources)
    assert [each["path"] for each in read(report)["files"]] == ["shop/cart.py"]


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (COBERTURA.replace(b'hits="12"', b'hits="many"'), "a line '7' with 'many' hits"),
        (COBERTURA[:-30], "not well-formed"),
        ("SF:a.py\nDA:x,1\n", "a line 'x' with '1' hits"),
        ("SF:a.py\nDA:1\n", "line 2 is not LCOV: 'DA:1'"),
        ("DA:1,1\n", "line 1 is not LCOV"),
        ("SF:a.py\nDA:-5,1\n", "a line '-5'"),
        (f"SF:a.py\nDA:{10**9},1\n", "a line '1000000000'"),
    ],
)
def test_says_what_is_wrong(report: bytes | str, why: str) -> None:
    with pytest.raises(NotReadable, match=why):
        read(report)


def test_reports_without_a_line_have_no_coverage() -> None:
    found = Coverage([])
    found.read_lcov(io.BytesIO(b"TN:\nSF:a.py\nend_of_record\n"), on_chunk=lambda: None)
    assert found.result() is None


def test_stays_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(f"DA:{2 * number},0\n" for number in range(1, MOST_RANGES + 10))
    (cut,) = read(f"SF:a.py\n{lines}")["files"]
    assert (cut["lines"], len(cut["missing"])) == (MOST_RANGES + 9, MOST_RANGES)
    monkeypatch.setattr(coverage, "MOST_LINES", 10)
    with pytest.raises(NotReadable, match="more than 10 lines"):
        read(f"SF:a.py\n{lines}")


def test_ranges() -> None:
    assert ranges([1, 2, 3, 7, 9, 10]) == [[1, 3], [7, 7], [9, 10]]
    assert ranges([]) == []


def test_the_files_that_have_lost_most_come_first() -> None:
    before = {"coverage": {"lines": 30, "covered": 20, "files": [file(name, 10, 8) for name in "abc"]}}
    now = {"files": [file("a", 10, 7), file("b", 10, 2), file("c", 10, 9), file("new", 10, 0)]}
    found = compared(now, "earlier", before)
    assert (found["job_id"], found["percent"]) == ("earlier", 66.67)
    assert [(each["path"], each["percent_before"], each["percent"]) for each in found["lost"]] == [
        ("b", 80.0, 20.0),
        ("a", 80.0, 70.0),
    ]
