"""All settings as a table."""

from collections.abc import Callable, Sequence
from typing import Any

from ci_cli.tables.fitting import Column, Cut, table


def settings_table(rows: Sequence[dict[str, Any]], shown: Callable[[Any], str], *, width: int | None = None) -> str:
    """Return settings as a table with a head, whose lines fit into `width`; `shown` is how a value is written."""
    columns = (
        Column("SETTING", lambda row: row["setting"]),
        Column("VALUE", lambda row: shown(row["value"]), cut=Cut.END),
        Column("DEFAULT", lambda row: shown(row["default"]), cut=Cut.END, spare=2),
        Column("UNIT", lambda row: shown(row["unit"]), spare=1),
        Column("MEANING", lambda row: shown(row["meaning"]), cut=Cut.END),
    )
    return table(columns, rows, width=width)
