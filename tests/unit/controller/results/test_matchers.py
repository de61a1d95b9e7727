"""The places that known tools name in a log. The samples are what the tools print."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.attempts.outcomes import MOST_ANNOTATIONS, Annotation
from ci_controller.results import log as log_module
from ci_controller.results.log import read_log
from ci_controller.results.matchers import CANDIDATE, candidates

Place = tuple[str | None, str, str | None, int | None, int | None, str | None, str]
"""Tool, level, file, line, column, title, message."""


def found(tmp_path: Path, text: str | bytes, *roots: str) -> list[Annotation]:
    path = tmp_path / "log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_log(path, path.stat().st_size, roots).annotations()


def places(annotations: list[Annotation]) -> list[Place]:
    return [(a.tool, a.level, a.file, a.line, a.column, a.title, a.message) for a in annotations]


PYTEST = """\
tests/test_a.py::test_one FAILED                                         [ 50%]
________________________________ test_one ________________________________

    def test_one():
>       assert 1 == 2
E       assert 1 == 2

tests/test_a.py:4: AssertionError
____________________________ ERROR collecting tests/test_b.py ____________________________
tests/test_b.py:1: in <module>
    import nothing_here
E   ModuleNotFoundError: No module named 'nothing_here'
=========================== short test summary info ============================
FAILED tests/test_a.py::test_one - assert 1 == 2
"""
RUFF = """\
F401 [*] `os` imported but unused
 --> a.py:1:8
  |
1 | import os
  |        ^^
b.py:3:1: E501 Line too long (121 > 120)
"""
CARGO = """\
   Compiling demo v0.1.0 (/ci/workspace)
error[E0308]: mismatched types
 --> src/main.rs:2:18
  |
warning: unused variable: `x`
  --> src/lib.rs:7:9
error: could not compile `demo` (bin "demo") due to 1 previous error
thread 'tests::it' panicked at src/lib.rs:12:9:
assertion `left == right` failed
"""
GO = """\
=== RUN   TestGood
    good_test.go:5: only a log
--- PASS: TestGood (0.00s)
=== RUN   TestBad
    bad_test.go:7: got 1, want 2
--- FAIL: TestBad (0.00s)
--- FAIL: TestOther (0.00s)
    other_test.go:9: no
# example.com/m
./main.go:6:2: undefined: foo
"""
ESLINT = """\
/ci/workspace/src/app.js
   3:10  error    'x' is not defined        no-undef
  12:1   warning  Unexpected console  here  no-console

✖ 2 problems (1 error, 1 warning)
   4:4  error    of no file  none
"""
CASES: dict[str, tuple[str, list[Place]]] = {
    "pytest": (
        PYTEST,
        [
            ("pytest", "error", "tests/test_a.py", 4, None, "AssertionError", "assert 1 == 2"),
            (
                "pytest",
                "error",
                "tests/test_b.py",
                1,
                None,
                None,
                "ModuleNotFoundError: No module named 'nothing_here'",
            ),
        ],
    ),
    "mypy": (
        'a/b.py:3: error: Name "x" is not defined  [name-defined]\na/b.py:3: note: see\nc.py:1:5: error: no  [x]\n',
        [
            ("mypy", "error", "a/b.py", 3, None, "name-defined", 'Name "x" is not defined'),
            ("mypy", "error", "c.py", 1, 5, "x", "no"),
        ],
    ),
    "ruff": (
        RUFF,
        [
            ("ruff", "error", "a.py", 1, 8, "F401", "`os` imported but unused"),
            ("ruff", "error", "b.py", 3, 1, "E501", "Line too long (121 > 120)"),
        ],
    ),
    "tsc": (
        "src/a.ts(3,5): error TS2322: Type 'string'.\n"
        "\x1b[96msrc/b.ts\x1b[0m:\x1b[93m3\x1b[0m:\x1b[93m7\x1b[0m - \x1b[91merror\x1b[0m\x1b[90m TS1005: \x1b[0m';'\n",
        [
            ("tsc", "error", "src/a.ts", 3, 5, "TS2322", "Type 'string'."),
            ("tsc", "error", "src/b.ts", 3, 7, "TS1005", "';'"),
        ],
    ),
    "eslint": (
        ESLINT,
        [
            ("eslint", "error", "src/app.js", 3, 10, "no-undef", "'x' is not defined"),
            ("eslint", "warning", "src/app.js", 12, 1, "no-console", "Unexpected console  here"),
        ],
    ),
    "gcc": (
        "a.c: In function 'main':\na.c:3:5: error: expected ';' [-Wx]\n"
        "\x1b[1mb.c:4:1: \x1b[0m\x1b[0;1;35mwarning: \x1b[0munused\nc.c:1:10: fatal error: no.h: No such file\n",
        [
            ("gcc", "error", "a.c", 3, 5, "-Wx", "expected ';'"),
            ("gcc", "warning", "b.c", 4, 1, None, "unused"),
            ("gcc", "error", "c.c", 1, 10, None, "no.h: No such file"),
        ],
    ),
    "go": (
        GO,
        [
            ("go", "error", "bad_test.go", 7, None, None, "got 1, want 2"),
            ("go", "error", "other_test.go", 9, None, None, "no"),
            ("go", "error", "main.go", 6, 2, None, "undefined: foo"),
        ],
    ),
    "cargo": (
        CARGO,
        [
            ("cargo", "error", "src/main.rs", 2, 18, "E0308", "mismatched types"),
            ("cargo", "warning", "src/lib.rs", 7, 9, None, "unused variable: `x`"),
            ("cargo", "error", "src/lib.rs", 12, 9, None, "assertion `left == right` failed"),
        ],
    ),
    "commands": (
        "::error file=a.py,line=3,endLine=4,col=2,title=Too%2C old::no%0Away 100%25\n::notice::just so\n"
        "ci:annotation file=/ci/workspace/b.py,level=warning::slow\nci:annotation::bad\n::group::x\n ::error::no\n",
        [
            (None, "error", "a.py", 3, 2, "Too, old", "no\nway 100%"),
            (None, "notice", None, None, None, None, "just so"),
            (None, "warning", "b.py", None, None, None, "slow"),
            (None, "error", None, None, None, None, "bad"),
        ],
    ),
    "nothing": (
        "2026-01-01 12:30:45: error: no place\nhttp://a.b:80: error\ntime: 3:4\nerror: alone\n  --> x.rs:1:1x\n"
        "    x_test.go:1: passed\nok\n",
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_places(tmp_path: Path, case: str, end: str) -> None:
    text, expected = CASES[case]
    assert places(found(tmp_path, text.replace("\n", end), "/ci/workspace")) == expected


def test_an_annotation_names_its_line_in_the_log(tmp_path: Path) -> None:
    annotations = found(tmp_path, "ü\nx\n::error::a\na.c:1:1: error: b\n")
    assert [a.log_offset for a in annotations] == [5, 16]
    assert [a.source for a in annotations] == ["job", "matcher"]


def test_lines_of_the_summary(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("ci:summary # Title\nci:summary\nci:summarynot\n ci:summary no\nci:summary - a\n")
    assert read_log(tmp_path / "log", 1000, ()).summary == ["# Title", "", "- a"]


def test_errors_come_before_the_rest_and_each_once(tmp_path: Path) -> None:
    warnings = "".join(f"a.c:{number}:1: warning: w\n" for number in range(1, MOST_ANNOTATIONS + 6))
    (tmp_path / "log").write_text(f"{warnings}a.c:1:1: error: e\na.c:1:1: error: e\n")
    read = read_log(tmp_path / "log", 10**6, ())
    kept = read.annotations()
    assert len(kept) == MOST_ANNOTATIONS
    assert [a.level for a in kept].count("error") == 1
    assert read.lost == 6


PIECES = st.sampled_from(
    b"\n|\r|\t|\x1b|| |E|E |::|ci:|-->|---|=== |error[|warning:|RUF100 |.ts|.vue|:1|(9|x|12:30|a.c:1:1: error: b".split(
        b"|"
    )
)


@given(st.lists(PIECES, max_size=30).map(b"".join))
def test_a_search_in_many_lines_finds_what_one_in_each_finds(text: bytes) -> None:
    found_at, position = set(), 0
    for line in text.split(b"\n"):
        if CANDIDATE.search(line) is not None:
            found_at.add(position)
        position += len(line) + 1
    assert candidates(text) == found_at


def test_lines_that_are_empty_are_searched_once(tmp_path: Path) -> None:
    text = "\n" * 2_000_000 + ".ts" + " " * 100_000 + "\n::error::here\n" + "  \n" * 500_000
    begun = time.process_time()
    assert [a.message for a in found(tmp_path, text)] == ["here"]
    assert time.process_time() - begun < log_module.MOST_SECONDS


def test_of_a_long_log_both_ends_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MOST_BYTES", 1000)
    filler = b"nothing here\n" * 200
    (tmp_path / "log").write_bytes(b"::error::first\n" + filler + b"::error::middle\n" + filler + b"::error::last\n")
    read = read_log(tmp_path / "log", 10**6, ())
    assert [a.message for a in read.annotations()] == ["first", "last"]
    assert read.is_cut


def test_only_the_log_that_the_row_knows_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"::error::in\n::error::out\n")
    assert [a.message for a in read_log(tmp_path / "log", 12, ()).annotations()] == ["in"]


@pytest.mark.parametrize(
    "line",
    [
        "a" * 2000,
        "a:1:" * 500,
        ":" * 2000,
        "::error " + "file=a," * 280,
        "::error " + ":" * 1900,
        "a.py:1:1: error: " + "[" * 1900,
        "  1:1  error  " + " " * 1900 + "x",
        "x.js" * 500,
        "\x1b[" * 1000,
        "\x1b]" + "x" * 1900,
        "E " + " " * 1900,
        "error[" + "a" * 1900,
        "thread '" + "'" * 1900,
        "    a_test.go:" + "1" * 1900,
    ],
    ids=range(14),
)
def test_no_line_takes_long(tmp_path: Path, line: str) -> None:
    text = f"x.js\n{line}\n".encode() * 200
    began = time.process_time()
    found(tmp_path, text)
    assert time.process_time() - began < 1.0, "a fraction of a millisecond for each line"
