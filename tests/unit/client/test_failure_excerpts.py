"""The lines that matter of failed jobs' logs. `failed_logs/` has what the tools printed."""

from pathlib import Path

import pytest

from ci_client.logs.excerpts import FailureExcerpt, excerpt_text, lines_that_matter
from ci_client.logs.plain import plain

LOGS = Path(__file__).parent / "failed_logs"
TOLD = {
    "pytest": [
        ">       assert total([10]) * 0.9 == 10 - n",
        "E       assert (10 * 0.9) == (10 - 2)",
        "test_shop.py:13: AssertionError",
        "E       KeyError: 'tea'",
        "FAILED test_shop.py::test_missing - KeyError: 'tea'",
        "========================= 2 failed, 2 passed in 3.06s ==========================",
    ],
    "unittest": [
        "FAIL: test_keeps_case (test_split.SplitTests.test_keeps_case)",
        '    self.assertEqual(split("A"), ["a"])',
        "AssertionError: Lists differ: ['A'] != ['a']",
        "FAILED (failures=1)",
    ],
    "gcc": [
        "main.c:7:3: error: \u2018retrun\u2019 undeclared (first use in this function)",
        "    7 |   retrun 0;",
        "make: *** [Makefile:4: main.o] Error 1",
    ],
    "go": [
        '    split_test.go:23: Split("abc", "/") = [], want [abc]',
        "    --- FAIL: TestSplit/no_separator (0.00s)",
        "FAIL    example.com/strings 0.003s",
    ],
    "go_build": ["./split.go:9:2: undefined: lenght", "FAIL    example.com/strings [build failed]"],
    "rust": [
        "thread 'tests::keeps_case' (4711) panicked at src/lib.rs:31:9:",
        "  left: 1",
        " right: 2",
        "error: test failed, to rerun pass `--lib`",
    ],
    "rustc": ["error[E0308]: mismatched types", " --> src/lib.rs:3:5"],
    "jest": [
        "  ● split \u203a keeps what has no separator",
        "    - Expected  - 1",
        "      at Object.toEqual (src/split.test.js:8:23)",
        "Tests:       1 failed, 3 passed, 4 total",
    ],
    "tsc": [
        "src/cart.ts(12,7): error TS2322: Type 'string' is not assignable to type 'number'.",
        "src/cart.ts:30:11 - error TS2304: Cannot find name 'totl'.",
    ],
    "mypy_ruff": [
        'bad.py:2: error: Incompatible types in assignment (expression has type "str", variable has type "int")'
        "  [assignment]",
        "F401 [*] `os` imported but unused",
        " --> bad.py:1:8",
        "Found 2 errors.",
    ],
    "maven": [
        "[ERROR]   SplitTest.keepsCase:21 expected: <a> but was: <A>",
        "org.opentest4j.AssertionFailedError: expected: <a> but was: <A>",
    ],
    "shell": ["/ci/steps/1: line 3: frobnicate: command not found"],
}


def test_every_log_is_expected_to_tell_something() -> None:
    assert {path.stem for path in LOGS.iterdir()} == set(TOLD)


@pytest.mark.parametrize("tool", sorted(TOLD))
def test_what_a_tool_says_is_found_in_a_long_log(tool: str) -> None:
    log = (LOGS / f"{tool}.txt").read_bytes()
    whole = b"collecting the next module\n" * 5000 + log + b"removing temporary files\n" * 500
    lines = lines_that_matter(whole, max_bytes=1500)
    assert [text for text in TOLD[tool] if text not in {line.text for line in lines}] == []
    assert len(excerpt_text(lines).encode()) <= 1500 + 7 * len(lines)
    every = whole.split(b"\n")
    assert all(plain(every[line.number - 1]) == line.text for line in lines)


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_the_pieces_in_which_a_log_comes_do_not_matter(size: int) -> None:
    log = (LOGS / "pytest.txt").read_bytes() * 300
    excerpt = FailureExcerpt()
    for start in range(0, len(log), size):
        excerpt.feed(log[start : start + size])
    assert excerpt.lines(2048) == lines_that_matter(log)


def test_a_log_larger_than_what_is_kept_has_right_numbers() -> None:
    excerpt = FailureExcerpt()
    excerpt.feed(b"error: the first\n" + b"." * 99 + b"\n")
    for _ in range(100):
        excerpt.feed(b"unremarkable line\n" * 5000)
    excerpt.feed(b"error: the last\n")
    told = {line.number: line.text for line in excerpt.lines(500)}
    assert told[1] == "error: the first"
    assert told[500_003] == "error: the last"


def test_an_earlier_part_counts_only_for_the_numbers() -> None:
    excerpt = FailureExcerpt()
    excerpt.feed(b"error: of a step that may fail\nmore\n")
    excerpt.begin_part()
    excerpt.feed(b"error: of the last step\n")
    assert excerpt_text(excerpt.lines(500)) == "     3 error: of the last step"
    excerpt.begin_log()
    excerpt.feed(b"error: of the next attempt\n")
    assert excerpt_text(excerpt.lines(500)) == "     1 error: of the next attempt"


def test_without_an_error_the_end_is_told() -> None:
    log = b"".join(b"line %d\n" % number for number in range(1, 1001))
    lines = lines_that_matter(log, max_bytes=500)
    assert lines[-1].text == "line 1000"
    assert len(lines) > 20


@pytest.mark.parametrize(
    "line",
    ["test tests::error_on_empty ... ok", "tests/test_errors.py::test_failed PASSED [ 5%]", "0 errors, 0 failed"],
)
def test_what_went_well_is_not_told(line: str) -> None:
    log = f"{line}\n{'quiet' * 4}\n".encode() + b"next\n" * 100
    assert line not in {found.text for found in lines_that_matter(log, max_bytes=300)}


def test_a_thousand_errors_show_the_first_and_the_last() -> None:
    log = b"".join(b"main.c:%d:1: error: number %d\n" % (number, number) for number in range(1, 1001))
    shown = [line.number for line in lines_that_matter(log, max_bytes=1000)]
    assert shown[0] == 1
    assert shown[-1] == 1000


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"\x1b[31mERROR\x1b[0m: no\x1b]0;title\x07 way\r\n", "ERROR: no way"),
        (b" 10 %\r 50 %\rdone", "done"),
        ("a\u202eb\u200bc".encode(), "a\\u202eb\\u200bc"),
        ("x\U000e0141\ufe0fy".encode(), "xy"),
        (b"a\tb\x00", "a   b"),
        (b"\xff", "\ufffd"),
        (b"y" * 600, "y" * 499 + "…"),
    ],
)
def test_a_plain_line_has_nothing_hidden(line: bytes, text: str) -> None:
    assert plain(line) == text
