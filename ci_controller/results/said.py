"""The two files that a job may write into: its outputs and its summary."""

from pathlib import Path

from ci_common.attempts.outcomes import MOST_OUTPUT_BYTES, MOST_OUTPUTS, MOST_SUMMARY_BYTES, Annotation
from ci_common.parsing.text import printable
from ci_common.run_directory.untrusted_files import read_capped

_MOST_NAME = 100
_MOST_PROBLEMS = 10


class _Outputs:
    """Outputs as they are read, and what is wrong with the others."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.problems: list[str] = []
        self._bytes = 0

    def add(self, number: int, name: str, value: str) -> None:
        """Take an output from line `number`; a later one of the same name wins."""
        if not name or len(name) > _MOST_NAME or not name.isprintable() or name != name.strip():
            self.problem(
                number, f"{printable(name)!r} is no name; use up to {_MOST_NAME} characters without spaces around"
            )
            return
        size = len(name.encode()) + len(value.encode())
        before = self.values.get(name)
        held = 0 if before is None else len(name.encode()) + len(before.encode())
        if self._bytes - held + size > MOST_OUTPUT_BYTES:
            self.problem(number, f"{printable(name)} is left out: all outputs may have {MOST_OUTPUT_BYTES} bytes")
        elif before is None and len(self.values) == MOST_OUTPUTS:
            self.problem(number, f"{printable(name)} is left out: a job may have {MOST_OUTPUTS} outputs")
        else:
            self._bytes += size - held
            self.values[name] = value

    def problem(self, number: int, text: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"CI_OUTPUT, line {number}: {text}")


def read_outputs(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return the outputs in the file at `path`, and what is wrong with it. No file, and anything else there, is none.

    A line is `NAME=VALUE`, or `NAME<<WORD`, with the lines of the value behind it up to one that is `WORD`.
    """
    raw = read_capped(path, 2 * MOST_OUTPUT_BYTES + 1) or b""
    outputs = _Outputs()
    if len(raw) > 2 * MOST_OUTPUT_BYTES:
        raw = raw[: raw.rfind(b"\n", 0, 2 * MOST_OUTPUT_BYTES) + 1]
        outputs.problems.append(f"CI_OUTPUT: only the first {2 * MOST_OUTPUT_BYTES} bytes of the file are read")
    lines = clean(raw).split("\n")
    position = 0
    while position < len(lines):
        number, line = position + 1, lines[position].removesuffix("\r")
        position += 1
        name, equals, value = line.partition("=")
        begun, several, word = line.partition("<<")
        if several and len(begun) < len(name):
            found = _end_of(lines, position, word.strip())
            if found is None:
                outputs.problem(number, f"the value of {printable(begun)} does not end with a line {printable(word)!r}")
                break
            outputs.add(number, begun, "\n".join(text.removesuffix("\r") for text in lines[position:found]))
            position = found + 1
        elif equals:
            outputs.add(number, name, value)
        elif line.strip():
            outputs.problem(number, f"{printable(line)!r} is no output; write NAME=VALUE")
    return outputs.values, outputs.problems


def _end_of(lines: list[str], position: int, word: str) -> int | None:
    """Return the place of the line that is `word`, from `position` on."""
    if word:
        for place in range(position, len(lines)):
            if lines[place].removesuffix("\r") == word:
                return place
    return None


def read_summary(path: Path) -> tuple[str, list[str]]:
    """Return the text in the file at `path`, and what is wrong with it. No file, and anything else there, is empty."""
    raw = read_capped(path, MOST_SUMMARY_BYTES + 1) or b""
    if len(raw) <= MOST_SUMMARY_BYTES:
        return clean(raw), []
    return clean(raw[:MOST_SUMMARY_BYTES]), [f"CI_SUMMARY: only the first {MOST_SUMMARY_BYTES} bytes are kept"]


def clean(raw: bytes) -> str:
    """Return bytes as text that every database can keep."""
    return raw.decode(errors="replace").replace("\0", "\ufffd")


def remarks(problems: list[str]) -> list[Annotation]:
    """Return what was wrong as annotations, so that the author of the job sees it."""
    return [Annotation.bounded("warning", problem, "ci") for problem in problems]
