"""The project's Markdown as tests read it: code blocks with the comment before them, tables, links, headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.installation import ROOT

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>.+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    note: str
    """The comment directly before it; empty where there is none."""
    language: str
    text: str


class Page:
    """One Markdown file; `name` is its path below the project's root."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / name
        self.text = self.path.read_text("utf-8")

    def blocks(self) -> list[Block]:
        return [Block(match["note"] or "", match["language"], match["text"]) for match in _BLOCK.finditer(self.text)]

    def prose(self) -> str:
        """The text without its blocks of code."""
        return _BLOCK.sub("", self.text)

    def section(self, heading: str) -> str:
        """The text below a heading, up to the next one of any level."""
        _, _, rest = self.text.partition(f" {heading}\n")
        assert rest, f"{self.name} has no heading {heading!r}"
        return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]

    def links(self) -> list[str]:
        return _LINK.findall(self.prose())

    def anchors(self) -> set[str]:
        """What links to a place in this page may name, by GitHub's rule."""
        titles = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in _HEADING.findall(self.prose()))
        return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def table(text: str) -> list[tuple[str, ...]]:
    """Return the rows of the first table in `text`, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in _CELL.split(line)[1:-1]) for line in lines[2:]]


def codes(text: str) -> list[str]:
    """Return what stands in backticks in `text`, in order."""
    return re.findall(r"`([^`\n]+)`", text)


def pages() -> Iterator[Page]:
    """Yield every Markdown page of the project."""
    found: list[Path] = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    for path in sorted(found):
        yield Page(str(path.relative_to(ROOT)))
