"""Finds places in the output of known tools, line by line: pytest, mypy, ruff, tsc, ESLint, gcc, clang, Go, Cargo.

A line is matched only up to _LONGEST characters, by expressions in which no two repetitions can take the same text, so
none of them takes longer than a few passes over the line.
"""

import re
from collections.abc import Callable
from typing import Any

from ci_common.attempts.outcomes import Annotation, Level

_LONGEST = 2000
_PATH = r"(?P<file>[^\s:(][^:(]*)"
_AT = r":(?P<line>\d{1,9})"
_COMMAND = re.compile(r"(?:::(?P<level>error|warning|notice)|ci:annotation)(?: (?P<properties>[^:]*(?::[^:]+)*))?::")
_SUMMARY = "ci:summary"
_COMPILER = re.compile(rf"{_PATH}{_AT}(?::(?P<column>\d{{1,9}}))?: (?P<level>fatal error|error|warning): (?P<text>.+)")
_RULE = re.compile(rf"{_PATH}{_AT}:(?P<column>\d{{1,9}}): (?P<title>[A-Z]{{1,5}}\d{{2,5}}):? (?P<text>.+)")
_TSC = re.compile(
    r"(?P<file>[^\s:(][^:(]*)(?:\((?P<l1>\d{1,9}),(?P<c1>\d{1,9})\):|:(?P<l2>\d{1,9}):(?P<c2>\d{1,9}) -)"
    r" (?P<level>error|warning) (?P<title>TS\d{1,6}): (?P<text>.+)"
)
_ARROW = re.compile(rf"\s*--> {_PATH}{_AT}:(?P<column>\d{{1,9}})")
_RUST_HEAD = re.compile(r"(?P<level>error|warning)(?:\[(?P<title>[\w:]{1,60})\])?: (?P<text>.+)")
_RUFF_HEAD = re.compile(r"(?P<title>[A-Z]{1,5}\d{2,5}) (?P<text>\S.*)")
_PANIC = re.compile(rf"thread '[^']{{0,300}}'(?: \(\d{{1,20}}\))? panicked at {_PATH}{_AT}:(?P<column>\d{{1,9}}):")
_ESLINT_FILE = re.compile(r"(?P<file>\S[^:]*\.(?:[cm]?[jt]sx?|vue|svelte))")
_ESLINT = re.compile(r"\s+(?P<line>\d{1,9}):(?P<column>\d{1,9})\s+(?P<level>error|warning)\s+(?P<text>\S.*)")
_PYTEST_END = re.compile(rf"{_PATH}{_AT}: (?P<title>[A-Za-z_][\w.]*)")
_PYTEST_FRAME = re.compile(rf"{_PATH}{_AT}: in \S.*")
_GO = re.compile(r"(?:vet: )?(?P<file>[^\s:]+\.go):(?P<line>\d{1,9})(?::(?P<column>\d{1,9}))?: (?P<text>.+)")
_GO_LOG = re.compile(r"\s{4,}(?P<file>[^\s:]+_test\.go):(?P<line>\d{1,9}): (?P<text>.*)")
_GO_VERDICT = re.compile(r"\s*--- (?P<verdict>FAIL|PASS|SKIP): ")
CANDIDATE = re.compile(
    rb"[:(]\d|\x1b|^::|^ci:|^\s*-->|^E\s|^(?:error|warning)[\[:]|^[A-Z]{1,5}\d{2,5} |^\s*---\s|^=== "
    rb"|\.[cmjtsxvuel]{2,6}\s*$"
)
"""What a line has that any matcher could want."""
_SOMEWHERE = re.compile(rb"[:(](?=\d)|\x1b|\.(?=[cmjtsxvuel]{2,6}[^\S\n]*$)", re.MULTILINE)
_AT_BEGINNING = re.compile(
    rb"\n(?=::|ci:|[^\S\n]*(?:-->|---[^\S\n])|E[^\S\n]|(?:error|warning)[\[:]|[A-Z]{1,5}\d{2,5} |=== )"
)
"""The parts of CANDIDATE. Each begins with few bytes, so that a search skips what lies between them."""
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;:?<=>]{0,60}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CODES = re.compile(r"%(25|0D|0A|3A|2C)", re.IGNORECASE)
_LEVELS: dict[str, Level] = {"fatal error": "error", "error": "error", "warning": "warning", "notice": "notice"}
_HEAD_LINES = 3
"""How far behind its head the place of a message may stand."""
_GO_LINES = 50


def candidates(text: bytes) -> set[int]:
    """Return where the lines of a text begin that CANDIDATE would find, if it looked at each of them by itself."""
    text = b"\n" + text
    found = {match.start() for match in _AT_BEGINNING.finditer(text)}
    match = _SOMEWHERE.search(text, 1)
    while match is not None:
        found.add(text.rindex(b"\n", 0, match.start()))
        end = text.find(b"\n", match.end())
        match = None if end < 0 else _SOMEWHERE.search(text, end)
    return found


def plain(line: str) -> str:
    """Return a line without colours and other control sequences, cut to what is matched."""
    line = line.rstrip("\r")[:_LONGEST]
    if "\x1b" in line:
        line = _ESCAPE.sub("", line)
    return line if line.isprintable() else "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line)


class Matchers:
    """Takes the lines of a log in order, and hands each annotation to `found` and each line of a summary to `said`.

    `roots` are the paths of the project as the job and its tools may name it; paths below them become relative.
    """

    def __init__(
        self, found: Callable[[Annotation], None], said: Callable[[str], None], roots: tuple[str, ...] = ()
    ) -> None:
        self._found = found
        self._said = said
        self._roots = tuple(f"{root.rstrip('/')}/" for root in roots)
        self._head: tuple[int, str, dict[str, Any]] | None = None
        """The message whose place is still to come, with the number of its line."""
        self._panic: dict[str, Any] | None = None
        self._eslint_file: str | None = None
        self._reason: str | None = None
        """What pytest said of a failure whose place is still to come."""
        self._frame: dict[str, Any] | None = None
        """The place in a traceback of pytest whose error is still to come."""
        self._go_logs: list[dict[str, Any]] = []
        self._go_fails = False
        self._number = 0

    def take(self, line: str, offset: int) -> None:
        """Take a line without its end, which begins at `offset`."""
        self._number += 1
        line = plain(line)
        if self._panic is not None:
            self._report("error", line or "panicked", "cargo", self._panic)
            self._panic = None
            return
        for matcher in (self._command, self._one_line, self._in_two, self._eslint, self._pytest, self._go):
            if matcher(line, offset):
                return

    @property
    def wants_next(self) -> bool:
        """Whether the next line matters, whatever it is."""
        return self._panic is not None

    def pass_over(self, lines: int) -> None:
        """Count lines that hold nothing for any matcher, and end what they end."""
        self._number += lines
        self._eslint_file = None

    def _report(self, level: str, text: str, tool: str | None, place: dict[str, Any], title: str | None = None) -> None:
        file = place.get("file")
        numbers = {name: int(place[name]) for name in ("line", "column", "end_line") if place.get(name)}
        self._found(
            Annotation.bounded(
                _LEVELS[level],
                text.strip(),
                "job" if tool is None else "matcher",
                tool=tool,
                title=title or place.get("title"),
                file=None if file is None else self._relative(file),
                log_offset=place["offset"],
                **numbers,
            )
        )

    def _relative(self, file: str) -> str:
        for root in self._roots:
            if file.startswith(root):
                return file[len(root) :]
        return file.removeprefix("./")

    def _command(self, line: str, offset: int) -> bool:
        if line.startswith(_SUMMARY) and line[len(_SUMMARY) :][:1] in ("", " "):
            self._said(line[len(_SUMMARY) + 1 :])
            return True
        if not line.startswith(("::", "ci:annotation")) or (match := _COMMAND.match(line)) is None:
            return False
        given = dict(pair.partition("=")[::2] for pair in (match["properties"] or "").split(","))
        values = {name.strip().lower(): _decoded(value.strip()) for name, value in given.items()}
        place = {
            "file": values.get("file"),
            "line": _digits(values.get("line")),
            "column": _digits(values.get("col") or values.get("column")),
            "end_line": _digits(values.get("endline") or values.get("end_line")),
            "offset": offset,
        }
        level = match["level"] or values.get("level", "error")
        self._report(
            level if level in _LEVELS else "error", _decoded(line[match.end() :]), None, place, values.get("title")
        )
        return True

    def _one_line(self, line: str, offset: int) -> bool:
        """Tools that say everything in one line."""
        if (match := _TSC.match(line)) is not None:
            place = {
                "file": match["file"],
                "line": match["l1"] or match["l2"],
                "column": match["c1"] or match["c2"],
                "offset": offset,
            }
            self._report(match["level"], match["text"], "tsc", place, match["title"])
        elif (match := _COMPILER.match(line)) is not None and _is_path(match["file"]):
            tool = "mypy" if match["file"].endswith((".py", ".pyi")) else "gcc"
            text, title = _split_code(match["text"])
            self._report(match["level"], text, tool, {**match.groupdict(), "offset": offset}, title)
        elif (match := _RULE.match(line)) is not None and _is_path(match["file"]):
            text = match["text"].removeprefix("[*] ")
            self._report("error", text, "ruff", {**match.groupdict(), "offset": offset})
        else:
            return False
        return True

    def _in_two(self, line: str, offset: int) -> bool:
        """Cargo and ruff, which say what is wrong first, and where in one of the next lines."""
        if (match := _PANIC.match(line)) is not None:
            self._panic = {**match.groupdict(), "offset": offset}
        elif (match := _RUST_HEAD.match(line)) is not None:
            self._head = self._number, "cargo", {**match.groupdict(), "offset": offset}
        elif (match := _RUFF_HEAD.match(line)) is not None:
            head = {**match.groupdict(), "text": match["text"].removeprefix("[*] "), "level": "error", "offset": offset}
            self._head = self._number, "ruff", head
        elif (match := _ARROW.fullmatch(line.rstrip())) is not None:
            if self._head is not None and self._number - self._head[0] <= _HEAD_LINES:
                _, tool, head = self._head
                self._report(head["level"], head["text"], tool, head | match.groupdict())
            self._head = None
        else:
            return False
        return True

    def _eslint(self, line: str, offset: int) -> bool:
        if (match := _ESLINT_FILE.fullmatch(line)) is not None:
            self._eslint_file = match["file"]
        elif self._eslint_file is not None and (match := _ESLINT.match(line)) is not None:
            text, _, rule = match["text"].rstrip().rpartition("  ")
            place = {**match.groupdict(), "file": self._eslint_file, "offset": offset}
            self._report(match["level"], text or rule, "eslint", place, rule if text else None)
        else:
            if not line.strip():
                self._eslint_file = None
            return False
        return True

    def _pytest(self, line: str, offset: int) -> bool:
        if line.startswith(("E ", "E\t")):
            text = line[1:].strip()
            if self._frame is not None:
                self._report("error", text, "pytest", self._frame)
                self._frame = self._reason = None
            elif self._reason is None:
                self._reason = text
        elif (match := _PYTEST_FRAME.match(line)) is not None and match["file"].endswith(".py"):
            self._frame = {**match.groupdict(), "offset": offset}
        elif (match := _PYTEST_END.fullmatch(line)) is not None and match["file"].endswith(".py"):
            place = {**match.groupdict(), "offset": offset}
            self._report("error", self._reason or match["title"], "pytest", place)
            self._reason = self._frame = None
        else:
            return False
        return True

    def _go(self, line: str, offset: int) -> bool:
        if (match := _GO_VERDICT.match(line)) is not None:
            # What a test has logged is shown before its verdict, or behind it.
            self._go_fails = match["verdict"] == "FAIL"
            for place in self._go_logs if self._go_fails else ():
                self._report("error", place["text"], "go", place)
            self._go_logs = []
        elif (match := _GO_LOG.match(line)) is not None:
            place = {**match.groupdict(), "offset": offset}
            if self._go_fails:
                self._report("error", place["text"], "go", place)
            elif len(self._go_logs) < _GO_LINES:
                self._go_logs.append(place)
        elif (match := _GO.match(line)) is not None:
            self._report("error", match["text"], "go", {**match.groupdict(), "offset": offset})
        else:
            if line.startswith("=== RUN"):
                self._go_fails = False
            return False
        return True


def _decoded(text: str) -> str:
    """Undo the escapes of workflow commands."""
    return _CODES.sub(lambda match: chr(int(match[1], 16)), text) if "%" in text else text


def _digits(text: str | None) -> str | None:
    return text if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _is_path(text: str) -> bool:
    """Tell the name of a file from other text before a colon, as in `12:30:45: error: …`."""
    return ("." in text or "/" in text) and "  " not in text


def _split_code(text: str) -> tuple[str, str | None]:
    """Return a message, and the code in brackets at its end."""
    start = text.rfind("[")
    if start > 0 and text.endswith("]") and " " not in text[start:]:
        return text[:start].rstrip(), text[start + 1 : -1]
    return text, None
