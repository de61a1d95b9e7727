"""Tables and details that fit the window. What goes to a pipe is whole."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import click

from ci_client.escapes import visible
from ci_client.formatting import text_width

_GAP = 2
_LEAST = 14
"""How many characters a cell that may be cut keeps, as long as there are columns to leave out."""
_LAST_RESORT = 4
NO_COLOURS: Mapping[str, str | None] = {}
_LEAST_VALUE = 20


class Cut(Enum):
    """What is left out of a cell that is too long."""

    NOTHING = auto()
    END = auto()
    BEGINNING = auto()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    head: str
    text: Callable[[Any], str]
    """What a row has in this column."""
    short: Callable[[Any], str] | None = None
    """What it has in a window in which the table does not fit."""
    cut: Cut = Cut.NOTHING
    spare: int = 0
    """Columns with a higher number are left out earlier; those with 0 are never left out."""
    right: bool = False
    """Whether its cells end at the same place, as numbers do."""
    colour: Callable[[Any], str | None] | None = None
    """The colour of a row's cell, as click names it."""

    def cells(self, rows: Sequence[Any], *, short: bool = False) -> list[str]:
        """Return the head and what each row has."""
        text = self.short if short and self.short is not None else self.text
        return [self.head, *(visible(text(row)) for row in rows)]


def table(shown: Sequence[Column], rows: Sequence[Any], *, width: int | None = None, coloured: bool = False) -> str:
    """Return rows as a table with a head, whose lines fit into `width`, as far as that is possible.

    A window has no columns that can be spared and are empty. In a narrow one cells get shorter, then columns are left
    out, and then cells are cut, which ends in `…`.
    """
    cells = {column: column.cells(rows) for column in shown}
    if width is not None:
        cells = _without_empty(cells)
    if width is not None and _total(cells) > width:
        cells = _narrowed(cells, rows, width)
    widths = {column: _width(texts) for column, texts in cells.items()}
    lines = []
    for number, texts in enumerate(zip(*cells.values(), strict=True)):
        line = ""
        for column, text in zip(cells, texts, strict=True):
            padding = " " * (widths[column] - text_width(text))
            colour = column.colour(rows[number - 1]) if coloured and number and column.colour is not None else None
            painted = text if colour is None else click.style(text, fg=colour)
            line += (padding + painted if column.right else painted + padding) + " " * _GAP
        lines.append(line.rstrip())
    return "\n".join(lines)


def details(
    rows: Sequence[tuple[str, str]], *, width: int | None = None, colours: Mapping[str, str | None] = NO_COLOURS
) -> str:
    """Return names and values, a line each. Values that are longer than the window go on below their beginning.

    `colours` has the colours of values by their names.
    """
    indent = max((text_width(visible(name)) for name, _ in rows), default=0) + _GAP
    room = None if width is None else width - indent
    lines = []
    for name, value in rows:
        parts = [visible(value)]
        if room is not None and room >= _LEAST_VALUE:
            parts = textwrap.wrap(parts[0], room, break_on_hyphens=False, replace_whitespace=False) or [""]
        colour = colours.get(name)
        for number, part in enumerate(parts):
            shown = visible(name) if number == 0 else ""
            painted = part if colour is None else click.style(part, fg=colour)
            lines.append((shown + " " * (indent - text_width(shown)) + painted).rstrip())
    return "\n".join(lines)


def wrapped(text: str, *, width: int | None = None) -> str:
    """Return a sentence in lines that fit into `width`."""
    return text if width is None else "\n".join(textwrap.wrap(text, max(width, _LEAST_VALUE)))


def cut(text: str, most: int, side: Cut = Cut.END) -> str:
    """Return a text of at most `most` columns, of which the rest is cut off at one side."""
    if text_width(text) <= most:
        return text
    chars = list(reversed(text)) if side is Cut.BEGINNING else list(text)
    used, kept = 1, []
    for char in chars:
        used += text_width(char)
        if used > most:
            break
        kept.append(char)
    return "…" + "".join(reversed(kept)) if side is Cut.BEGINNING else "".join(kept) + "…"


def _narrowed(cells: dict[Column, list[str]], rows: Sequence[Any], width: int) -> dict[Column, list[str]]:
    short = {column: column.cells(rows, short=True) for column in cells if column.short is not None}
    for column in sorted(short, key=lambda each: _width(short[each]) - _width(cells[each])):
        if _total(cells) > width:
            cells[column] = short[column]
    while _least_total(cells) > width and (gone := max(cells, key=lambda each: each.spare)).spare > 0:
        del cells[gone]
    widths = {column: _width(texts) for column, texts in cells.items()}
    room = width - _GAP * (len(cells) - 1)
    may_be_cut = [column for column in cells if column.cut is not Cut.NOTHING]
    for chosen, least in ((may_be_cut, _LEAST), (may_be_cut, _LEAST // 2), (list(cells), _LAST_RESORT)):
        _lessen(widths, chosen, room, least)
    return {
        column: [
            cut(text, widths[column], Cut.END if number == 0 or column.cut is Cut.NOTHING else column.cut)
            for number, text in enumerate(texts)
        ]
        for column, texts in cells.items()
    }


def _without_empty(cells: dict[Column, list[str]]) -> dict[Column, list[str]]:
    return {column: texts for column, texts in cells.items() if not column.spare or any(texts[1:])}


def _lessen(widths: dict[Column, int], chosen: Sequence[Column], room: int, least: int) -> None:
    """Make the widest of the chosen columns narrower until all fit into `room`, or have the least width."""
    while chosen and sum(widths.values()) > room:
        widest = max(reversed(chosen), key=lambda each: widths[each])
        if widths[widest] <= least:
            return
        widths[widest] -= 1


def _total(cells: dict[Column, list[str]]) -> int:
    return sum(map(_width, cells.values())) + _GAP * (len(cells) - 1)


def _least_total(cells: dict[Column, list[str]]) -> int:
    widths = [
        _width(texts) if column.cut is Cut.NOTHING else min(_width(texts), _LEAST) for column, texts in cells.items()
    ]
    return sum(widths) + _GAP * (len(cells) - 1)


def _width(texts: Sequence[str]) -> int:
    return max(map(text_width, texts))
