"""The audit as a table."""

from collections.abc import Sequence
from typing import Any

from ci_cli.tables.fitting import Column, Cut, table
from ci_cli.tables.times import local


def audit_table(entries: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return entries of the audit as a table with a head."""
    shown = (
        Column("NUMBER", lambda entry: str(entry["number"]), spare=4, right=True),
        Column("TIME", lambda entry: local(entry["time"])),
        Column("WHO", lambda entry: entry["actor"], cut=Cut.END),
        Column("KEY", lambda entry: entry["key_id"] or "", spare=5),
        Column("FROM", lambda entry: entry["address"], spare=3),
        Column("ACTION", lambda entry: entry["action"], spare=1),
        Column("TARGET", lambda entry: entry["target"], cut=Cut.BEGINNING),
        Column("PROJECT", lambda entry: entry["project"] or "", cut=Cut.END, spare=2),
        Column("OUTCOME", _outcome),
    )
    return table(shown, entries, width=width)


def _outcome(entry: dict[str, Any]) -> str:
    if entry["outcome"] == "done":
        return "done"
    times = f" ({entry['count']} times)" if entry["count"] > 1 else ""
    return f"refused: {entry['reason']}{times}"
