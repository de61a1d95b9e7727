"""Reading the reports of an attempt, as a task for readers."""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ci_common.attempts.columns import LETTERS, grouped
from ci_common.attempts.testing import CaseStatus
from ci_common.sandbox.child import Caller, TaskFunction
from ci_controller.reports.coverage import Coverage
from ci_controller.reports.files import Search, TooMuch
from ci_controller.reports.junit import Case, read_junit
from ci_controller.reports.texts import cut
from ci_controller.reports.xml_stream import CHUNK_BYTES, NotReadable

MODULE = __name__
PART_CASES = 5000
PART_CHARACTERS = 1024**2
MOST_CASES = 200_000
MOST_FILE_BYTES = 256 * 1024**2
MOST_BYTES = 1024**3
MOST_SECONDS = 60.0
"""Of processor time, so that neither a busy machine nor a slow database ends the reading."""
MOST_PROBLEMS = 50
TEXTS_ROOM = 16 * 1024**2
"""Characters of all details and outputs of an attempt together; a test after them keeps its message alone."""
_SNIFFED = 8192
KEY_BYTES = 10
_MOST_HASHES = 1000
_CHARACTERS_EACH = 60
"""What a test has besides its names and its texts, in the message to the other process."""


class _Run:
    """The reading of all reports of one attempt."""

    def __init__(self, argument: dict[str, Any], caller: Caller) -> None:
        self._caller = caller
        self._root = Path(argument["root"])
        self._places: list[tuple[list[str], str, str]] = [tuple(place) for place in argument["places"]]
        self._prefixes: list[str] = argument["prefixes"]
        self._scope: str = argument["scope"]
        self._coverage = Coverage(self._prefixes)
        self._part = _Part()
        self._characters = 0
        self._sent = 0
        self._texts = TEXTS_ROOM
        self._hashes: dict[tuple[str, str], hashlib.blake2b] = {}
        """What keys begin with, by suite and class."""
        self._seen: set[bytes] = set()
        self._again: Counter[bytes] = Counter()
        self._cases = 0
        self._of_file = 0
        self._bytes = 0
        self._until = time.process_time() + MOST_SECONDS
        self.files: list[dict[str, Any]] = []
        self.problems: list[str] = []

    def result(self) -> dict[str, Any]:
        search = Search(self._caller.advance)
        known: set[tuple[int, int]] = set()
        for names, pattern, kind in self._places:
            found = 0
            try:
                for path, descriptor in search.find(self._root, names, pattern):
                    found += 1
                    state = os.fstat(descriptor)
                    with open(descriptor, "rb", buffering=CHUNK_BYTES) as file:
                        if (state.st_dev, state.st_ino) not in known:
                            known.add((state.st_dev, state.st_ino))
                            self._read(path, file, kind, state.st_size)
            except TooMuch as exc:
                self._note(f"{pattern}: {exc}; what comes after is left out")
            if not found and kind != "any":
                self._note(f"{pattern}: no file matches")
        self._send()
        return {"files": self.files, "problems": self.problems[:MOST_PROBLEMS], "coverage": self._coverage.result()}

    def _read(self, path: str, file: BinaryIO, kind: str, size: int) -> None:
        shown = ascii(path)[1:-1] if not path.isprintable() else path
        self._caller.go_on_to(shown)
        problem, self._of_file = "", 0
        try:
            self._bytes += size
            if size > MOST_FILE_BYTES:
                raise NotReadable(f"it has {size} bytes; at most {MOST_FILE_BYTES} are read")
            if self._bytes > MOST_BYTES:
                raise NotReadable(f"all reports together have more than {MOST_BYTES} bytes")
            kind = self._read_as(kind, file, size)
        except NotReadable as exc:
            problem = str(exc)
            self._note(f"{shown}: {problem}")
        except OSError as exc:
            problem = exc.strerror or str(exc)
            self._note(f"{shown}: {problem}")
        if len(self.files) < 1000:
            self.files.append(
                {"path": cut(shown, 1000), "kind": kind, "tests": self._of_file, "problem": problem or None}
            )

    def _read_as(self, kind: str, file: BinaryIO, size: int) -> str:
        """Read a file as what it is, which has to be of `kind`, and return what that is."""
        head = file.read(_SNIFFED)
        file.seek(0)
        limited: BinaryIO = _Limited(file, size)  # type: ignore[assignment]  # it has what is used of a file
        actual = sniffed(head)
        if not head.strip():
            raise NotReadable("it is empty")
        if actual == "junit" and kind in ("junit", "any"):
            read_junit(limited, prefixes=self._prefixes, on_case=self._take, on_chunk=self._go_on)
        elif actual == "cobertura" and kind in ("coverage", "any"):
            self._coverage.read_cobertura(limited, on_chunk=self._go_on)
        elif actual == "lcov" and kind in ("coverage", "any"):
            self._coverage.read_lcov(limited, on_chunk=self._go_on)
        else:
            wanted = {"junit": "JUnit XML", "coverage": "Cobertura or LCOV"}.get(kind, "JUnit XML, Cobertura or LCOV")
            raise NotReadable(f"it is not {wanted}")
        return actual

    def _go_on(self) -> None:
        self._caller.advance()
        if time.process_time() > self._until:
            raise NotReadable(f"reading all reports took more than {MOST_SECONDS:g} seconds of a processor")

    def _take(self, case: Case) -> None:
        if self._cases >= MOST_CASES:
            raise NotReadable(f"there are more than {MOST_CASES} tests; those after them are left out")
        texts, size = None, 0
        if case.status is not CaseStatus.PASSED or case.flaky:
            texts, size = self._texts_of(case)
        self._part.add(self._key(case), case, texts)
        self._cases += 1
        self._of_file += 1
        size += len(case.name) + len(case.suite) + len(case.class_name) + len(case.file or "")
        self._characters += size + _CHARACTERS_EACH
        if len(self._part.keys) >= PART_CASES or self._characters >= PART_CHARACTERS:
            self._send()

    def _texts_of(self, case: Case) -> tuple[list[str | None], int]:
        """Return the TEXTS of a test, as far as there is room for them, and their characters."""
        details, output = case.details, case.output
        size = len(details or "") + len(output or "")
        if size > self._texts:
            details, output, size = None, None, 0
        self._texts -= size
        size += len(case.message or "") + len(case.selector or "")
        return [case.message, details, output, case.selector], size

    def _key(self, case: Case) -> str:
        """Return the test's key. Of several tests with one name, each but the first has its number in it."""
        begun = self._hashes.get((case.suite, case.class_name))
        if begun is None:
            parts = "\0".join((self._scope, case.suite, case.class_name, "")).encode(errors="replace")
            begun = hashlib.blake2b(parts, digest_size=KEY_BYTES)
            if len(self._hashes) < _MOST_HASHES:
                self._hashes[case.suite, case.class_name] = begun
        hashed = begun.copy()
        hashed.update(case.name.encode(errors="replace"))
        digest = hashed.digest()
        if digest in self._seen:
            self._again[digest] += 1
            digest = hashlib.blake2b(digest + str(self._again[digest] + 1).encode(), digest_size=KEY_BYTES).digest()
        self._seen.add(digest)
        return digest.hex()

    def _send(self) -> None:
        if self._part.keys:
            self._caller.hand_over(self._part.handed_over(self._sent))
            self._sent, self._part, self._characters = self._sent + 1, _Part(), 0

    def _note(self, problem: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(cut(problem, 1000))


class _Part:
    """Tests that are handed over together, as columns (`ci_common.attempts.columns`)."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._cases: list[Case] = []
        self._texts: dict[int, list[str | None]] = {}

    def add(self, key: str, case: Case, texts: list[str | None] | None) -> None:
        """Add a test. `texts` are those in the order of TEXTS."""
        if texts is not None:
            self._texts[len(self.keys)] = texts
        self.keys.append(key)
        self._cases.append(case)

    def handed_over(self, number: int) -> dict[str, Any]:
        """Return the part of this number."""
        cases, passed = self._cases, CaseStatus.PASSED
        letter = LETTERS[passed]
        lines = [case.line for case in cases]
        return {
            "number": number,
            "keys": self.keys,
            "statuses": "".join([letter if case.status is passed else LETTERS[case.status] for case in cases]),
            "flaky": "".join(["1" if case.flaky else "0" for case in cases]),
            "seconds": [case.seconds for case in cases],
            "names": [case.name for case in cases],
            "lines": lines if any(line is not None for line in lines) else [],
            "groups": grouped((case.suite, case.class_name, case.file) for case in cases),
            "texts": self._texts,
        }


class _Limited:
    """The first bytes of a file, which may still grow."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        chunk = self._file.read(min(size, self._left))
        self._left -= len(chunk)
        return chunk

    def readline(self, size: int) -> bytes:
        line = self._file.readline(min(size, self._left))
        self._left -= len(line)
        return line


def sniffed(head: bytes) -> str:
    """Return what a file is that begins so: `junit`, `cobertura`, `lcov`, or nothing."""
    text = head.decode("utf-16", "replace") if head[:2] in (b"\xff\xfe", b"\xfe\xff") else head.decode(errors="replace")
    for name in _elements(text):
        if name in ("testsuites", "testsuite"):
            return "junit"
        return "cobertura" if name == "coverage" else ""
    if text.lstrip("\ufeff \t\r\n").startswith(("TN:", "SF:")):
        return "lcov"
    return ""


def _elements(text: str) -> Iterator[str]:
    import re

    text = re.sub(r"<!--.*?-->|<\?.*?\?>|<![^>\[]*(?:\[[^\]]*\])?[^>]*>", "", text, flags=re.DOTALL)
    for found in re.finditer(r"^[\ufeff\s]*<(?:[\w.-]+:)?([\w.-]+)", text):
        yield found[1]


def read_reports_task(argument: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Read the reports of an attempt. The tests are handed over in parts, which are numbered from 0.

    The argument has `root`, and `places`: names that lead to a directory, a pattern, and what its files are: `junit`,
    `coverage` or `any`. `prefixes` are names of the project's directory as the job saw it, `scope` is part of the
    tests' keys.
    """
    caller.only_read(Path(argument["root"]))
    return _Run(argument, caller).result()


TASKS: dict[str, TaskFunction] = {"read_reports": read_reports_task}
