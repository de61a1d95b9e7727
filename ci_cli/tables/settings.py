"""All settings as a table, or as paragraphs where a table would cut what they mean."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Final

from ci_cli.tables.fitting import Column, Cut, table

_WIDE: Final = 200
"""From so many characters in a line on, most meanings fit into a table."""


def settings_table(rows: Sequence[dict[str, Any]], shown: Callable[[Any], str], *, width: int | None = None) -> str:
    """Return settings as a table with a head, or as paragraphs if `width` is too small for one.

    `shown` is how a value is written.
    """
    if width is not None and width < _WIDE:
        return "\n".join(_paragraph(row, shown, width) for row in rows)
    columns = (
        Column("SETTING", lambda row: row["setting"]),
        Column("VALUE", lambda row: shown(row["value"]), cut=Cut.END),
        Column("DEFAULT", lambda row: shown(row["default"]), cut=Cut.END, spare=2),
        Column("UNIT", lambda row: shown(row["unit"]), spare=1),
        Column("MEANING", lambda row: shown(row["meaning"]), cut=Cut.END),
    )
    return table(columns, rows, width=width)


def _paragraph(row: dict[str, Any], shown: Callable[[Any], str], width: int) -> str:
    value, default = shown(row["value"]), shown(row["default"])
    head = f"{row['setting']} = {value}" + ("" if value == default else f" (default: {default})")
    meaning = f"{row['unit']}: {row['meaning']}" if row["unit"] else shown(row["meaning"])
    lines = textwrap.wrap(head, width, subsequent_indent="    ")
    return "\n".join([*lines, *textwrap.wrap(meaning, width, initial_indent="  ", subsequent_indent="  ")])
