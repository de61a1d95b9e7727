"""Secrets as a table, which has no values."""

from collections.abc import Sequence
from typing import Any

from ci_cli.tables.fitting import Column, Cut, table
from ci_cli.tables.times import local


def secret_table(secrets: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return secrets as a table with a head."""
    shown = (
        Column("NAME", lambda secret: secret["name"], cut=Cut.END),
        Column("PROJECT", lambda secret: secret["project"] or "-", cut=Cut.END),
        Column("KEPT", lambda secret: secret["reference"] or "here", cut=Cut.END, spare=2),
        Column("MASKED", lambda secret: "yes" if secret["masked"] else "no", spare=3),
        Column("CHANGED", lambda secret: local(secret["changed"]) or "", spare=1),
        Column("BY", lambda secret: secret["changed_by"], cut=Cut.END, spare=4),
    )
    return table(shown, secrets, width=width)
