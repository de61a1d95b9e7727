"""The forms in which test runners, compilers and shells write errors and summaries."""

import re
from enum import IntEnum


class Rank(IntEnum):
    """How much a line tells."""

    SUMMARY = 0
    ERROR = 1
    PERHAPS = 2


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


_NOTHING_WRONG = _any(
    r"(?:.*\.\.\. ok|.*\bPASSED\b.*|\s*[✓✔√].*)$",
    r".*\b(?:0|no) (?:errors?|failures?|failed|failing)\b",
    r".*(?:errors?|failures?|failed)[=:] ?0\b(?!.*(?:[=:] ?)[1-9])",
)
PASSED = re.compile(r"\bPASSED\b|^\s*(?:✓|✔|ok\b)|\.\.\. ok$")
"""A test that passed, as pytest, Node.js, TAP and cargo say it."""
SUMMARY_BEGINS = re.compile(r"=+ short test summary info =+$")
SUMMARY = _any(
    r"=+ .*\b(?:failed|errors?)\b.* in [\d.]+s",  # pytest
    r"(?:\d+ failed|\d+ errors?)\b.* in [\d.]+s",  # pytest -q
    r"FAILED \((?:failures|errors)=",  # unittest
    r"\s*Tests?:?\s+(?:\S+ )?.*\b[1-9]\d* (?:failed|errors?)\b",  # jest, vitest
    r"test result: FAILED",  # cargo test
    r"error: \d+ targets? failed|error: test failed",
    r"\s+Summary \[.*\b[1-9]\d* failed\b",  # cargo nextest
    r"\s+\d+ failing$",  # mocha
    r"# fail [1-9]|\u2139 fail [1-9]",  # node --test
    r"FAIL {2,}\S+(?: +[\d.]+s| \[(?:build|setup) failed\])$",  # go test
    r"(?:\[ERROR\] )?Tests run: \d+, .*(?:Failures|Errors): [1-9]",  # Maven, PHPUnit
    r"(?:FAILURES|ERRORS)!",
    r"Tests: \d+, Assertions: \d+, .*(?:Failures|Errors): [1-9]",
    r"\d+ examples?, [1-9]\d* failures?",  # RSpec
    r"\d+ tests? completed, [1-9]\d* failed",  # Gradle
    r"Found [1-9]\d* errors?\b",  # mypy, ruff, tsc
    r"✖ [1-9]\d* problems?",  # eslint
)
_ERROR = _any(
    r"E {2,}\S",  # what pytest marks
    r"(?:FAILED|ERROR) \S+\.py\b",  # the lines of pytest's summary
    r"test .* \.\.\. FAILED$",  # cargo test
    r"(?:FAIL|ERROR): \w",  # unittest
    r"(?:\S+ ){0,2}[^\s:()]+:\d+(?::\d+)?: (?:fatal )?error\b",  # gcc, clang, mypy, javac
    r"[^\s:()]+\(\d+,\d+\): error ",  # tsc, C#
    r"[^\s:()]+:\d+:\d+ - error ",
    r"error(?:\[E\d+\])?: ",  # rustc, cargo and many others
    r"(?:\./)?[^\s:]+\.go:\d+(?::\d+)?: ",
    r"\s*--- FAIL: ",
    r"\s+\w+_test\.go:\d+: ",
    r"panic: |fatal error: ",
    r"thread '.*' (?:\(\d+\) )?panicked at",
    r"\s+(?:FAIL|SIGABRT|SIGSEGV|TIMEOUT) \[ *[\d.]+s\]",  # nextest
    r"\s*● .*\S",  # jest
    r"\s*FAIL {1,2}\S",  # jest, vitest
    r"\s*not ok \d+",  # TAP
    r"\s*[✖✗✕\xd7] ",
    r"\s+\d+:\d+ {2,}error {2,}",  # eslint
    r"[^\s:()]+:\d+:\d+: [A-Z]{1,5}\d{2,4} ",  # ruff, flake8
    r"\s+--> [^\s:]+:\d+:\d+",
    r"(?:[\w.]+\.)?\w*(?:Error|Exception|Panic|Exit)\b(?: \[\w+\])?(?:: |$)",  # Python, Node.js, Java
    r"Caused by: |Exception in thread |Uncaught |Unhandled ",
    r"e: (?:file://)?\S+:\d+:\d+",  # Kotlin
    r"\d+\) \S+::\S+",  # PHPUnit
    r"> Task .* FAILED|\* What went wrong:|FAILURE: ",  # Gradle
    r"\[ERROR\] +\S",  # Maven
    r"CMake Error|ninja: build stopped|make(?:\[\d+\])?: \*\*\*",
    r"npm (?:ERR!|error) (?!A complete log)\S",
    r".*: (?:\d+: )?(?:[^ :]+: )?(?:command )?not found$",
    r".*: (?:No such file or directory|Permission denied|Cannot allocate memory|No space left on device)\b",
    r"Segmentation fault|Killed$|Aborted\b|Bus error|.*\bcore dumped|.*\b[Oo]ut of memory\b",
    r"ERROR: |fatal: |[Aa]ssertion .*failed",
)
_PERHAPS = _any(
    r"(?:\S+ ){0,4}\[?(?i:error|fatal|critical|fail(?:ed|ure)?|panic)\b\]?[:!\s]",
    r".*::\S+ (?:FAILED|ERROR)\b",  # pytest -v
    r".*\bexit(?:ed)?(?: with)?(?: status| code)? [1-9]\d*\b",
)
TRACEBACK = re.compile(r"(?:\s*\S* )??\s*Traceback \(most recent call last\):")
BELONGS_TO_ERROR = re.compile(r"\s+(?:\S|$)|E {2,}|>|[^\s:]+:\d+: ")
"""Lines after an error that say more about it: indented ones, and pytest's place of it."""
PLACE_BELOW = re.compile(r"\s+--> ")
"""The place of an error whose message is the line above."""
MARKED = re.compile(r"E {2,}")
"""Pytest's error, a few lines below the source line that pytest marks with `>`."""
IN_ANY_CASE = (
    *(b"error", b"fail", b"panic", b"fatal", b"exception", b"traceback", b"exit", b"denied", b"unhandled", b"uncaught"),
    *(b"fault", b"killed", b"abort", b"memory", b"no such", b"not found", b"not ok", b"no space", b"went wrong"),
    *(b"stopped", b"***", b"problem", b"assertion"),
)
AS_WRITTEN = (b"E   ", b"-->", b".go:", b".py:", b"e: ", b"SIG", b"TIMEOUT", *map(str.encode, "●✖✗✕\xd7"))
"""One of these, or of `IN_ANY_CASE` in any case, is in every line that is worth a look."""


def rank_of(text: str) -> Rank | None:
    """Return how much a line tells about a failure; None if nothing."""
    if _NOTHING_WRONG.match(text):
        return None
    for rank, pattern in ((Rank.SUMMARY, SUMMARY), (Rank.ERROR, _ERROR), (Rank.PERHAPS, _PERHAPS)):
        if pattern.match(text):
            return rank
    return None
