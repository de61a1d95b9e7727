"""Test reports of many writers. pytest, Node.js, Vitest, Mocha, Jest and PHPUnit have written theirs themselves."""

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
        ("surefire", (2, 1, 0, 0, 1), {"removes": "com/acme/CartTest.java:31", "pays": "com/acme/CartTest.java:44"}),
        ("gradle", (0, 1, 0, 1, 0), {"sends()": "com/acme/MailTest.kt:12"}),
        ("jest", (2, 1, 0, 1, 0), {"sum is wrong": "a.test.js:3"}),
        ("vitest", (1, 1, 0, 1, 0), {"vsum > is wrong": "v.spec.mjs:2"}),
        ("mocha", (1, 2, 0, 2, 0), {"is wrong": "test/a.js:4", '"before each" hook for "never"': "test/a.js:7"}),
        ("node", (2, 1, 0, 2, 0), {"is wrong": "n.mjs:2"}),
        ("gotestsum", (2, 1, 0, 0, 1), {"TestSum/empty": "cart_test.go:30", "TestFlaky": "cart_test.go:21"}),
        ("nextest", (2, 1, 0, 0, 1), {"tests::removes": "src/lib.rs:17", "tests::pays": "src/lib.rs:40"}),
        (
            "phpunit",
            (2, 2, 1, 1, 0),
            {
                "testWrong": "SumTest.php:5",
                "testBoom": "SumTest.php:6",
                'testEach with data set "one"': "SumTest.php:8",
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
    assert php["testWrong"] == "sum"
    assert php["testBoom"] == "RuntimeException: boom"


def test_of_what_is_cut_off_the_part_before_counts() -> None:
    content = (DATA / "gotestsum.xml").read_bytes()
    cases: list[Case] = []
    with pytest.raises(NotReadable, match="not well-formed XML"):
        read_junit(io.BytesIO(content[:-60]), prefixes=[], on_case=cases.append, on_chunk=lambda: None)
    assert len(cases) == 2


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
