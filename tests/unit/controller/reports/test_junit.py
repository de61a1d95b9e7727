"""Test reports of many writers, nearly all written by the tools themselves: `tests/data/junit/README.md`."""

import io
from collections import Counter
from pathlib import Path

import pytest

from ci_common.attempts.testing import CaseStatus
from ci_controller.reports.junit import Case, read_junit, seconds_of
from ci_controller.reports.xml_stream import LONGEST_TAG_BYTES, MOST_DEPTH, NotReadable

DATA = Path(__file__).parents[3] / "data" / "junit"


def read(content: bytes) -> list[Case]:
    cases: list[Case] = []
    read_junit(io.BytesIO(content), prefixes=["/ci/workspace"], on_case=cases.append, on_chunk=lambda: None)
    return cases


@pytest.mark.parametrize(
    ("name", "counts", "places"),
    [
        (
            "pytest",
            (2, 2, 1, 1, 0),
            {"test_bad": "test_a.py:6", "test_p[2]": "test_a.py:9", "test_err": "test_a.py:11"},
        ),
        (
            "surefire",
            (2, 1, 1, 2, 0),
            {"error": "org/example/ShapesTest.java:12", "wrong": "org/example/ShapesTest.java:11"},
        ),
        ("surefire-parameters", (1, 1, 0, 0, 0), {"fits[groß]": "org/example/SizesTest.java:16"}),
        (
            "surefire-reruns",
            (1, 1, 0, 0, 1),
            {"neverRight": "org/example/FlakyTest.java:12", "secondTimeRight": "org/example/FlakyTest.java:11"},
        ),
        (
            "gradle",
            (2, 2, 0, 2, 0),
            {"error": "org/example/ShapesTest.java:12", "wrong": "org/example/ShapesTest.java:11"},
        ),
        ("gradle-parameters", (1, 1, 0, 0, 0), {"fits[groß]": "org/example/SizesTest.java:16"}),
        ("jest", (2, 1, 0, 1, 0), {"sum is wrong": "a.test.js:3"}),
        ("vitest", (1, 1, 0, 1, 0), {"vsum > is wrong": "v.spec.mjs:2"}),
        ("mocha", (1, 2, 0, 2, 0), {"is wrong": "test/a.js:4", '"before each" hook for "never"': "test/a.js:7"}),
        ("node", (2, 1, 0, 2, 0), {"is wrong": "n.mjs:2"}),
        (
            "gotestsum",
            (3, 4, 0, 1, 0),
            {
                "TestWrong": "area_test.go:12",
                "TestTable/groß": "area_test.go:22",
                "TestTable": "None:None",
                "TestPanics": "area/area_test.go:30",
            },
        ),
        ("gotestsum-reruns", (2, 1, 0, 0, 1), {"TestWrong": "area_test.go:16", "TestFlaky": "area_test.go:12"}),
        ("nextest", (2, 1, 0, 0, 1), {"tests::removes": "src/lib.rs:17", "tests::pays": "src/lib.rs:40"}),
        (
            "phpunit",
            (4, 2, 2, 2, 0),
            {
                "testWrong": "ShapesTest.php:8",
                "testError": "ShapesTest.php:9",
                "testRisky": "ShapesTest.php:14",
                'testSizes with data set "groß"': "ShapesTest.php:16",
            },
        ),
    ],
)
def test_counts_and_places(name: str, counts: tuple[int, ...], places: dict[str, str]) -> None:
    cases = read((DATA / f"{name}.xml").read_bytes())
    found = Counter(case.status for case in cases)
    order = (CaseStatus.PASSED, CaseStatus.FAILED, CaseStatus.ERROR, CaseStatus.SKIPPED)
    assert (*(found[status] for status in order), sum(case.flaky for case in cases)) == counts
    assert {case.name: f"{case.file}:{case.line}" for case in cases if case.details} == places


def test_messages_output_and_selectors() -> None:
    by_name = {case.name: case for case in read((DATA / "pytest.xml").read_bytes())}
    assert by_name["test_bad"].message == "AssertionError: numbers differ\nassert 1 == 2"
    assert by_name["test_bad"].output is not None
    assert "hello output" in by_name["test_bad"].output
    assert by_name["test_p[2]"].selector == "test_a.py::TestC::test_p[2]"
    assert by_name["test_skip"].message == "later"
    assert by_name["test_ok"].details is None
    php = {case.name: case.message for case in read((DATA / "phpunit.xml").read_bytes())}
    assert php["testWrong"] == "Failed asserting that two strings are identical."
    assert php["testError"] == "RuntimeException: no such shape: größe"
    java = {case.name: case for case in read((DATA / "surefire.xml").read_bytes())}
    assert java["wrong"].message == "expected:<[größe <&>]> but was:<[klein]>"
    assert (java["assumed"].message, java["ignored"].message) == ("not on this machine", "later")


def test_messages_of_go() -> None:
    """gotestsum says of a failed test that it failed; what it printed says why."""
    told = {case.name: case.message for case in read((DATA / "gotestsum.xml").read_bytes())}
    assert told["TestWrong"] == "größe ✓ & <tag>\ngot 3, want 4"
    assert told["TestTable/groß"] == "too large"
    assert told["TestTable"] == "Failed"
    assert told["TestPanics"] == "panic: runtime error: index out of range [3] with length 0"
    assert told["TestSkipped"] == "not on this machine"
    again = {case.name: case.message for case in read((DATA / "gotestsum-reruns.xml").read_bytes())}
    assert again == {"TestFlaky": "not ready yet", "TestWrong": "größe", "TestSquare": None}


def test_what_a_suite_says_of_its_totals_is_not_believed() -> None:
    (case,) = read(b'<testsuite tests="99" failures="7" time="1,234.5"><testcase name="a" time="1,200.5"/></testsuite>')
    assert (case.status, case.seconds) == (CaseStatus.PASSED, 1200.5)


def test_of_what_is_cut_off_the_part_before_counts() -> None:
    content = (DATA / "gotestsum.xml").read_bytes()
    cases: list[Case] = []
    with pytest.raises(NotReadable, match="not well-formed XML"):
        read_junit(io.BytesIO(content[:-60]), prefixes=[], on_case=cases.append, on_chunk=lambda: None)
    assert len(cases) == 7


LAUGHS = b"""<!DOCTYPE t [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>"""
OUTSIDE = b"""<!DOCTYPE t [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite>&a;</testsuite>"""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (LAUGHS, "declares the entity a"),
        (OUTSIDE, "declares the entity a"),
        (b"<a>" * (MOST_DEPTH + 1), "100 deep"),
        (b"<testsuite name='" + b"x" * (2 * LONGEST_TAG_BYTES), "a tag at line 1 has more than"),
        (b'<?xml version="1.0" encoding="no-such"?><testsuite/>', "unknown encoding|decoded"),
        (b"\xff\xfe\x00", "well-formed"),
    ],
)
def test_refuses_what_could_exhaust_or_mislead_it(content: bytes, why: str) -> None:
    with pytest.raises(NotReadable, match=why):
        read(content)


def test_a_document_type_without_entities_is_no_obstacle() -> None:
    (case,) = read(b'<!DOCTYPE a SYSTEM "http://localhost:1/x.dtd"><testsuite><testcase name="a"/></testsuite>')
    assert case.name == "a"


def test_long_texts_keep_their_beginning_and_their_end() -> None:
    text = b"first\n" + b"x" * 10**6 + b"\nlast"
    (case,) = read(b"<testsuite><testcase name='a'><failure>" + text + b"</failure></testcase></testsuite>")
    assert case.details is not None
    assert len(case.details) < 20_000
    assert case.details.startswith("first")
    assert case.details.endswith("last")
    assert "characters left out" in case.details


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1,234.5", 1234.5), ("0,5", 0.5), ("1e-3", 0.001), ("-1", None), ("nan", None), ("", None), (None, None)],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds
