"""The results of many tests as columns: a run may have 50,000, and nearly all of them say little."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ci_common.attempts.testing import CaseChange, CaseResult, CaseStatus

LETTERS = {CaseStatus.PASSED: "p", CaseStatus.FAILED: "f", CaseStatus.ERROR: "e", CaseStatus.SKIPPED: "s"}
CHANGE_LETTERS = {
    None: "-",
    CaseChange.NEWLY_FAILING: "n",
    CaseChange.STILL_FAILING: "s",
    CaseChange.FIXED: "f",
}
STATUSES = {letter: status for status, letter in LETTERS.items()}
CHANGES = {letter: change for change, letter in CHANGE_LETTERS.items()}
TEXTS = ("message", "details", "output", "selector")
"""The fields that only tests of note have."""

Group = tuple[str, str, str | None, int]
"""Suite, class and file of so many tests that follow each other."""


@dataclass(slots=True)
class CaseColumns:
    """Tests that follow each other in an attempt: for each property the values of all of them, in their order."""

    first: int = 0
    """The position of the first."""
    keys: list[str] = field(default_factory=list)
    statuses: str = ""
    """A letter for each, as in LETTERS."""
    flaky: str = ""
    """`1` for each that is flaky, and `0` for the others."""
    changes: str = ""
    """A letter for each, as in CHANGE_LETTERS."""
    seconds: list[float | None] = field(default_factory=list)
    seconds_before: list[float | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    lines: list[int | None] = field(default_factory=list)
    """Empty if no test has any."""
    groups: list[Group] = field(default_factory=list)
    texts: dict[int, list[str | None]] = field(default_factory=dict)
    """The TEXTS of those that have any, by their place among these tests."""

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, cases: Sequence[CaseResult]) -> "CaseColumns":
        """Return these tests, whose positions follow each other, as columns."""
        columns = cls(
            first=cases[0].position if cases else 0,
            keys=[case.key for case in cases],
            statuses="".join(LETTERS[case.status] for case in cases),
            flaky="".join("01"[case.flaky] for case in cases),
            changes="".join(CHANGE_LETTERS[case.change] for case in cases),
            seconds=[case.seconds for case in cases],
            seconds_before=[case.seconds_before for case in cases],
            names=[case.name for case in cases],
            lines=[case.line for case in cases] if any(case.line is not None for case in cases) else [],
            groups=grouped((case.suite, case.class_name, case.file) for case in cases),
        )
        for place, case in enumerate(cases):
            texts = [getattr(case, name) for name in TEXTS]
            if any(text is not None for text in texts):
                columns.texts[place] = texts
        return columns

    def cases(self, places: Iterable[int]) -> Iterator[CaseResult]:
        """Yield the tests at these places among these tests, which ascend."""
        groups, end = iter(self.groups), 0
        suite, class_name, file = "", "", None
        for place in places:
            while place >= end:
                suite, class_name, file, count = next(groups)
                end += count
            texts = self.texts.get(place)
            yield CaseResult(
                position=self.first + place,
                key=self.keys[place],
                suite=suite,
                class_name=class_name,
                name=self.names[place],
                status=STATUSES[self.statuses[place]],
                seconds=self.seconds[place],
                file=file,
                line=self.lines[place] if self.lines else None,
                flaky=self.flaky[place] == "1",
                change=CHANGES[self.changes[place]],
                seconds_before=self.seconds_before[place],
                **({} if texts is None else dict(zip(TEXTS, texts, strict=True))),
            )

    def matching(self, text: str) -> Iterator[int]:
        """Yield the places of tests with this text in suite, class, name or file; case does not matter."""
        wanted, names, begin = text.lower(), iter(self.names), 0
        for suite, class_name, file, count in self.groups:
            of_group = islice(names, count)
            if any(wanted in part.lower() for part in (suite, class_name, file or "")):
                yield from (begin + place for place, _ in enumerate(of_group))
            else:
                yield from (begin + place for place, name in enumerate(of_group) if wanted in name.lower())
            begin += count


def grouped(cases: Iterable[tuple[str, str, str | None]]) -> list[Group]:
    """Return tests, each by its suite, class and file, as groups."""
    groups: list[Group] = []
    last, count = None, 0
    for case in cases:
        if case != last:
            if last is not None:
                groups.append((*last, count))
            last, count = case, 0
        count += 1
    return groups if last is None else [*groups, (*last, count)]


def of_part(part: dict[str, Any], first: int) -> CaseColumns:
    """Return the tests of a part that a reader has handed over, before they are compared. Raises ValueError."""
    keys = list(part["keys"])
    columns = CaseColumns(
        first=first,
        keys=keys,
        statuses=part["statuses"],
        flaky=part["flaky"],
        changes=CHANGE_LETTERS[None] * len(keys),
        seconds=part["seconds"],
        seconds_before=[None] * len(keys),
        names=part["names"],
        lines=part["lines"],
        groups=[(suite, class_name, file, count) for suite, class_name, file, count in part["groups"]],
        texts={int(place): texts for place, texts in part["texts"].items()},
    )
    lengths = {len(columns.statuses), len(columns.flaky), len(columns.seconds), len(columns.names)}
    if lengths != {len(keys)} or sum(group[3] for group in columns.groups) != len(keys):
        raise ValueError("a part of a report has columns of different lengths")
    return columns
