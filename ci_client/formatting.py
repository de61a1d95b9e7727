"""Durations and tables as text for people."""

from collections.abc import Sequence

from ci_client.escapes import visible

_GAP = "  "
_LEAST_CELL = 6


def span(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def count_of(count: int, thing: str) -> str:
    """Return a number of things for people, as in `1 job` and `2 jobs`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def columns(rows: Sequence[Sequence[str]], *, width: int | None = None) -> str:
    """Return rows as lines with aligned columns. Line ends inside a cell are written out.

    Lines that would be longer than `width` get shorter cells: the longest columns end in `…`.
    """
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        widths = _narrowed(widths, width - len(_GAP) * (len(widths) - 1))
    return "\n".join(
        _GAP.join(_cut(cell, most).ljust(most) for cell, most in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _narrowed(widths: list[int], room: int) -> list[int]:
    """Return widths that fit into `room`, as far as each column keeps a few characters."""
    widths = list(widths)
    while sum(widths) > room and (longest := max(widths)) > _LEAST_CELL:
        widths[len(widths) - 1 - widths[::-1].index(longest)] -= 1
    return widths


def _cut(cell: str, most: int) -> str:
    return cell if len(cell) <= most else cell[: most - 1] + "…"
