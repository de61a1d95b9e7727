"""What a reader hands over of the reports of an attempt."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ci_common.attempts.columns import CaseColumns, of_part
from ci_common.attempts.testing import CaseResult, CaseStatus
from ci_common.sandbox.channel import MAX_FRAME_BYTES, encoded
from ci_controller.reports.junit import LONGEST_NAME
from ci_controller.reports.tasks import PART_CASES, read_reports_task


@dataclass
class PlayedCaller:
    """The process that has sent the task."""

    parts: list[dict[str, Any]] = field(default_factory=list)

    def hand_over(self, part: dict[str, Any]) -> None:
        assert len(encoded({"part": part})) < MAX_FRAME_BYTES
        self.parts.append(part)

    def advance(self, size: int = 0) -> None: ...

    def only_read(self, root: Path) -> None: ...

    def go_on_to(self, name: str) -> None: ...

    def columns(self) -> list[CaseColumns]:
        first, found = 0, []
        for part in self.parts:
            found.append(of_part(part, first))
            first += len(found[-1])
        return found

    def cases(self) -> list[CaseResult]:
        return [case for part in self.columns() for case in part.cases(range(len(part)))]


def read(directory: Path, *documents: str) -> tuple[PlayedCaller, dict[str, Any]]:
    """Have documents read, each as a report of its own."""
    (directory / "reports").mkdir()
    for number, document in enumerate(documents):
        (directory / "reports" / f"{number}.xml").write_text(document)
    caller = PlayedCaller()
    places = [(["reports"], "**", "any")]
    argument = {"root": str(directory), "places": places, "prefixes": [], "scope": "s"}
    return caller, read_reports_task(argument, caller)  # type: ignore[arg-type]


def suite(*cases: str, name: str = "s") -> str:
    return f'<testsuite name="{name}">{"".join(cases)}</testsuite>'


def test_tests_come_in_parts_in_their_order(tmp_path: Path) -> None:
    number = 2 * PART_CASES + 1
    caller, _ = read(tmp_path, suite(*(f'<testcase classname="c{n // 7}" name="{n}"/>' for n in range(number))))
    assert [len(part) for part in caller.columns()] == [PART_CASES, PART_CASES, 1]
    cases = caller.cases()
    assert [(case.position, case.name, case.class_name) for case in cases] == [
        (n, str(n), f"c{n // 7}") for n in range(number)
    ]
    assert len({case.key for case in cases}) == number


def test_a_part_is_never_too_long_for_a_message(tmp_path: Path) -> None:
    long = "\x7f" * LONGEST_NAME
    cases = [
        f'<testcase classname="{n}{long}" name="{n}{long}" file="{long}.x">'
        f'<failure message="{long}">{8 * long}</failure></testcase>'
        for n in range(300)
    ]
    caller, _ = read(tmp_path, suite(*cases, name=long))
    assert len(caller.cases()) == 300


def test_tests_of_one_name_have_keys_of_their_own_that_stay_theirs(tmp_path: Path) -> None:
    twice = suite('<testcase name="a"/>', '<testcase name="a"/>', '<testcase name="a"/>', '<testcase name="b"/>')
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    caller, _ = read(tmp_path / "x", twice)
    keys = [case.key for case in caller.cases()]
    assert len(set(keys)) == 4
    again, _ = read(tmp_path / "y", twice)
    assert [case.key for case in again.cases()] == keys


def test_texts_and_places_are_those_of_their_tests(tmp_path: Path) -> None:
    caller, result = read(
        tmp_path,
        suite(
            '<testcase name="a" time="0.5"/>',
            '<testcase name="b" file="b.js" line="3"><failure message="m">d</failure></testcase>',
            '<testcase name="c"><skipped message="later"/></testcase>',
            '<testcase name="d"><flakyFailure message="once"/></testcase>',
        ),
        suite('<testcase name="e"/>', name="t"),
    )
    found = [(c.name, c.suite, c.status, c.seconds, c.file, c.line, c.message, c.flaky) for c in caller.cases()]
    passed = CaseStatus.PASSED
    assert found == [
        ("a", "s", passed, 0.5, None, None, None, False),
        ("c", "s", CaseStatus.SKIPPED, None, None, None, "later", False),
        ("d", "s", passed, None, None, None, "once", True),
        # A rerun that passes might have followed, so it came with the end of its file.
        ("b", "s", CaseStatus.FAILED, None, "b.js", 3, "m", False),
        ("e", "t", passed, None, None, None, None, False),
    ]
    assert [(file["kind"], file["tests"]) for file in result["files"]] == [("junit", 4), ("junit", 1)]


def test_what_is_no_whole_part_is_refused(tmp_path: Path) -> None:
    caller, _ = read(tmp_path, suite('<testcase name="a"/>', '<testcase name="b"/>'))
    (part,) = caller.parts
    for broken in ({"statuses": "p"}, {"names": ["a"]}, {"groups": [["s", "", None, 1]]}):
        with pytest.raises(ValueError, match="different lengths"):
            of_part(part | broken, 0)
