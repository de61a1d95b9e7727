"""Coverage of lines, as Cobertura and LCOV report it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO

from ci_controller.reports.places import LONGEST_PLACE, relative
from ci_controller.reports.texts import storable
from ci_controller.reports.xml_stream import NotReadable, read_xml

MOST_LINES = 2_000_000
MOST_FILES = 5000
HIGHEST_LINE = 10**9
MOST_RANGES = 500
"""The most ranges of lines without coverage that are kept of one file."""
_LONGEST_LINE = 64 * 1024


class Coverage:
    """The lines of all reports of an attempt; a line that one of them has seen run is covered."""

    def __init__(self, prefixes: Sequence[str]) -> None:
        self._prefixes = prefixes
        self._hits: dict[str, dict[int, bool]] = {}
        self._lines = 0

    def read_cobertura(self, file: BinaryIO, *, on_chunk: Callable[[], None]) -> None:
        """Add a Cobertura report. Raises NotReadable."""
        reader = _Cobertura(self.note)
        read_xml(file, begin=reader.begin, end=reader.end, text=reader.text, on_chunk=on_chunk)

    def read_lcov(self, file: BinaryIO, *, on_chunk: Callable[[], None]) -> None:
        """Add an LCOV trace file. Raises NotReadable."""
        name = ""
        for number, raw in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), start=1):
            if number % 20_000 == 0:
                on_chunk()
            line = raw.decode(errors="replace").strip()
            if line.startswith("SF:"):
                name = line[3:]
            elif line.startswith("DA:"):
                fields = line[3:].split(",")
                if not name or len(fields) < 2:
                    raise NotReadable(f"line {number} is not LCOV: {line[:80]!r}")
                self.note(name, fields[0], fields[1])
            elif line == "end_of_record":
                name = ""

    def note(self, file: str, line: str, hits: str) -> None:
        """Note how often a line was run. Raises NotReadable for what are no numbers, and for too many lines."""
        try:
            number, is_hit = int(line), float(hits) > 0
            if not 0 <= number < HIGHEST_LINE:
                raise ValueError(line)
        except ValueError:
            raise NotReadable(f"{file[:200]} has a line {line[:40]!r} with {hits[:40]!r} hits") from None
        lines = self._hits.setdefault(file, {})
        if number not in lines:
            self._lines += 1
            if self._lines > MOST_LINES:
                raise NotReadable(f"there are more than {MOST_LINES} lines")
        lines[number] = lines.get(number, False) or is_hit

    def result(self) -> dict[str, Any] | None:
        """Return the figures as JSON; None if no report has any line."""
        merged: dict[str, dict[int, bool]] = {}
        for name, lines in self._hits.items():
            known = merged.setdefault(storable(relative(name, self._prefixes))[:LONGEST_PLACE], {})
            known.update({number: is_hit or known.get(number, False) for number, is_hit in lines.items()})
        files = [_figures(name, lines) for name, lines in sorted(merged.items()) if lines]
        if not files:
            return None
        total, covered = sum(file["lines"] for file in files), sum(file["covered"] for file in files)
        return {"lines": total, "covered": covered, "files": files[:MOST_FILES], "files_total": len(files)}


def _figures(name: str, lines: dict[int, bool]) -> dict[str, Any]:
    missing = [number for number, is_hit in sorted(lines.items()) if not is_hit]
    return {
        "path": name,
        "lines": len(lines),
        "covered": len(lines) - len(missing),
        "missing": ranges(missing)[:MOST_RANGES],
    }


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Return ascending numbers as ranges, each by its first and its last number."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


class _Cobertura:
    def __init__(self, note: Callable[[str, str, str], None]) -> None:
        self._note = note
        self._sources: list[str] = []
        self._source: str | None = None
        self._file = ""

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        if name == "source":
            self._source = ""
        elif name == "class":
            self._file = self._placed(attributes.get("filename", ""))
        elif name == "line" and self._file:
            self._note(self._file, attributes.get("number", ""), attributes.get("hits", ""))

    def text(self, text: str) -> None:
        if self._source is not None and len(self._source) < LONGEST_PLACE:
            self._source += text

    def end(self, name: str) -> None:
        if name == "source" and self._source is not None:
            if self._source.strip() and len(self._sources) < 100:
                self._sources.append(self._source.strip())
            self._source = None
        elif name == "class":
            self._file = ""

    def _placed(self, file: str) -> str:
        """Return the file with the directory that it lies in, which is certain only where one is named."""
        if len(self._sources) == 1 and not file.startswith("/"):
            return f"{self._sources[0].rstrip('/')}/{file}" if self._sources[0] != "." else file
        return file
