"""JUnit XML in the dialects of its writers, read as a stream.

What they have in common: `testcase` elements in `testsuite` elements, with at most one of `failure`, `error` and
`skipped` in each. They differ in the rest, and none of what they say about their totals is taken for true.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from ci_common.attempts.testing import BROKEN, CaseStatus
from ci_controller.reports.places import LONGEST_PLACE, place_in, pytest_selector, relative
from ci_controller.reports.texts import CutText, cut, go_message, storable
from ci_controller.reports.xml_stream import read_xml

LONGEST_NAME = 2000
LONGEST_MESSAGE = 2000
DETAILS_HEAD, DETAILS_TAIL = 4 * 1024, 12 * 1024
OUTPUT_HEAD, OUTPUT_TAIL = 1024, 7 * 1024
MOST_HELD = 10_000
"""The most failures of one file that are held back until its end, since a rerun of them may follow."""
_STATUS = {"failure": CaseStatus.FAILED, "error": CaseStatus.ERROR, "skipped": CaseStatus.SKIPPED}
_RERUNS = {"flakyFailure": CaseStatus.FAILED, "flakyError": CaseStatus.ERROR, "rerunFailure": None, "rerunError": None}
_OUTPUTS = frozenset({"system-out", "system-err"})
_NOT_RUN = frozenset({"notrun", "disabled", "suppressed", "ignored"})
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|�\[[0-9;]*m|#x1B\[[0-9;]*m")


@dataclass(slots=True)
class Case:
    """One test as a report has it."""

    suite: str
    class_name: str
    name: str
    status: CaseStatus = CaseStatus.PASSED
    seconds: float | None = None
    file: str | None = None
    line: int | None = None
    message: str | None = None
    details: str | None = None
    output: str | None = None
    selector: str | None = None
    flaky: bool = False

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.suite, self.class_name, self.name


@dataclass(slots=True)
class _Texts:
    """What the elements inside of a test say."""

    message: str | None = None
    kind: str | None = None
    details: CutText = field(default_factory=lambda: CutText(DETAILS_HEAD, DETAILS_TAIL))
    output: CutText = field(default_factory=lambda: CutText(OUTPUT_HEAD, OUTPUT_TAIL))
    skipped: CutText = field(default_factory=lambda: CutText(LONGEST_MESSAGE, 0))


def read_junit(
    file: BinaryIO, *, prefixes: Sequence[str], on_case: Callable[[Case], None], on_chunk: Callable[[], None]
) -> None:
    """Call `on_case` with every test of a report, and `on_chunk` for each part of the file.

    Raises NotReadable; what came before is right then.
    """
    reader = _Reader(prefixes, on_case)
    try:
        read_xml(file, begin=reader.begin, end=reader.end, text=reader.text, on_chunk=on_chunk)
    finally:
        reader.let_go()


class _Reader:
    def __init__(self, prefixes: Sequence[str], on_case: Callable[[Case], None]) -> None:
        self._prefixes = prefixes
        self._on_case = on_case
        self._suites: list[tuple[str, str | None]] = []
        self._case: Case | None = None
        self._texts: _Texts | None = None
        """Of the present test; nearly all tests have none."""
        self._class_named = self._class_name = ""
        """How the report names the class of the last test, and how it is kept."""
        self._sink: CutText | None = None
        self._sink_name = ""
        self._own_file: str | None = None
        self._is_pytest = self._is_go = False
        self._suite_error: Case | None = None
        self._held: dict[tuple[str, str, str], Case] = {}
        """Failures that a rerun which passes may still follow."""

    # Elements.

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        if name == "testcase":
            self._begin_case(attributes)
        elif name == "testsuite":
            suite = cut(storable(attributes.get("name", "")), LONGEST_NAME)
            self._suites.append((suite, attributes.get("file")))
            self._is_pytest = self._is_pytest or attributes.get("name") == "pytest"
        elif self._case is None:
            self._is_go = self._is_go or (name == "property" and attributes.get("name") == "go.version")
            if name == "error" and self._suites:  # A suite that could not be run at all, and so has no tests.
                self._begin_case({"name": "", "classname": ""})
                self._suite_error = self._case
                self._begin_part(name, attributes)
        elif self._sink is None:
            self._begin_part(name, attributes)

    def _begin_case(self, attributes: dict[str, str]) -> None:
        suite, suite_file = self._suites[-1] if self._suites else ("", None)
        get = attributes.get
        named = get("classname") or get("class") or ""
        file = get("file") or get("filepath") or suite_file
        line = get("line") or get("lineno")
        if named != self._class_named:
            self._class_named, self._class_name = named, cut(storable(named), LONGEST_NAME)
        case = self._case = Case(suite, self._class_name, cut(storable(get("name", "")), LONGEST_NAME))
        self._texts = self._own_file = None
        case.seconds = seconds_of(get("time") or get("duration"))
        if file or line:
            self._place(case, file, line, is_of_pytest="line" in attributes)
        if get("status", "").lower() in _NOT_RUN or get("result") == "skipped":
            case.status = CaseStatus.SKIPPED

    def _place(self, case: Case, file: str | None, line: str | None, *, is_of_pytest: bool) -> None:
        """Note where a test is. pytest alone calls its attribute `line`."""
        case.file = self._own_file = relative(file, self._prefixes)[:LONGEST_PLACE] if file else None
        case.line = _whole(line)
        if self._own_file is None or not (self._is_pytest or (is_of_pytest and file and file.endswith(".py"))):
            return
        if is_of_pytest and case.line is not None:
            case.line += 1  # pytest counts from 0.
        if self._own_file.endswith(".py"):
            case.selector = pytest_selector(self._own_file, case.class_name, case.name)

    def _begin_part(self, name: str, attributes: dict[str, str]) -> None:
        case = self._case
        assert case is not None, "the caller has checked that there is one"
        texts = self._texts = self._texts or _Texts()
        if name in _STATUS:
            status = _STATUS[name]
            if case.status is CaseStatus.PASSED or (status in BROKEN and case.status not in BROKEN):
                case.status = status
            self._sink = texts.skipped if status is CaseStatus.SKIPPED else texts.details
        elif name in _RERUNS:
            case.flaky = case.flaky or _RERUNS[name] is not None
            self._sink = texts.details
        elif name in _OUTPUTS:
            self._sink = texts.output
        else:
            return
        self._sink_name = name
        if name not in _OUTPUTS:
            texts.message = texts.message or attributes.get("message")
            texts.kind = texts.kind or attributes.get("type")

    def text(self, text: str) -> None:
        if self._sink is not None:
            self._sink.add(text)

    def end(self, name: str) -> None:
        if name == "testsuite":
            if self._suites:
                self._suites.pop()
        elif self._sink is not None and name == self._sink_name:
            self._sink.add("\n")
            self._sink = None
            if self._suite_error is not None:
                self._end_case()
        elif name == "testcase" and self._case is not None:
            self._end_case()

    # Tests.

    def _end_case(self) -> None:
        case, texts = self._case, self._texts
        assert case is not None, "the caller has checked that there is one"
        self._case = self._sink = self._suite_error = None
        if case.status is not CaseStatus.PASSED or case.flaky:
            self._add_texts(case, texts or _Texts())
        self._pass_on(case)

    def _add_texts(self, case: Case, texts: _Texts) -> None:
        if case.status is CaseStatus.SKIPPED:
            said = texts.message or texts.skipped.text().strip()
            case.message = cut(go_message(_plain(said)) if self._is_go else _plain(said), LONGEST_MESSAGE) or None
            return
        details = _plain(texts.details.text()).strip("\n")
        title = f"{case.class_name}::{case.name}"  # PHPUnit begins with it.
        lines = (line.strip() for line in details.splitlines() if line.strip() and not line.startswith(title))
        said = go_message(details) if self._is_go else ""  # gotestsum says that it has failed, and no more.
        message = said or _plain(texts.message or "").strip() or next(lines, "") or texts.kind or ""
        case.message = cut(storable(message), LONGEST_MESSAGE) or None
        case.details = details or None
        case.output = _plain(texts.output.text()).strip("\n") or None
        place = place_in(details, class_name=case.class_name, own_file=self._own_file, prefixes=self._prefixes)
        if place is not None:
            case.file, case.line = storable(place[0][:LONGEST_PLACE]), place[1]

    def _pass_on(self, case: Case) -> None:
        """Pass a test on, unless it is a failure that a rerun which passes may follow.

        pytest has no reruns of this kind, and names a test twice for other reasons. Go's tests have unique
        names, so a failure that comes again is a rerun, too.
        """
        if self._is_pytest or (case.status is CaseStatus.PASSED and not self._held):
            self._on_case(case)
        elif case.status in BROKEN and case.identity not in self._held and len(self._held) < MOST_HELD:
            self._held[case.identity] = case
        elif case.status in BROKEN and self._is_go and case.identity in self._held:
            pass
        elif case.status is CaseStatus.PASSED and (failed := self._held.pop(case.identity, None)) is not None:
            case.flaky = True
            case.message, case.details, case.output = failed.message, failed.details, failed.output
            case.file, case.line = failed.file, failed.line
            self._on_case(case)
        else:
            self._on_case(case)

    def let_go(self) -> None:
        """Pass on what was held back."""
        for case in self._held.values():
            self._on_case(case)
        self._held.clear()


def _plain(text: str) -> str:
    """Return the text as it is kept: without the colours of a terminal."""
    return storable(_ESCAPES.sub("", text) if "[" in text else text)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None


def seconds_of(text: str | None) -> float | None:
    """Return a duration in seconds, which some writers group by commas; None if it is none."""
    if not text or len(text) > 40:
        return None
    try:
        seconds = float(text.replace(",", "") if "." in text else text.replace(",", "."))
    except ValueError:
        return None
    return round(seconds, 6) if math.isfinite(seconds) and 0 <= seconds < 1e9 else None
