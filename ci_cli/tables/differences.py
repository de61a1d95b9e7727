"""What two runs do not have in common, as a table."""

import json
from collections.abc import Sequence
from typing import Any

from ci_cli.tables.fitting import Column, Cut, table
from ci_client.records import Difference
from ci_common.parsing.text import shown_size

_LONGEST_CELL = 60
_SIZES = ("peak_memory", "read_bytes", "written_bytes", "received_bytes", "sent_bytes", "upload.size", "log.bytes")

_COLUMNS = (
    Column("PART", lambda found: found.part, spare=1),
    Column("WHAT", lambda found: found.name, cut=Cut.END),
    Column("BEFORE", lambda found: _cell(found.name, found.before), cut=Cut.END),
    Column("AFTER", lambda found: _cell(found.name, found.after), cut=Cut.END),
)


def difference_table(found: Sequence[Difference], *, width: int | None = None) -> str:
    """Return differences as a table with a head, whose lines fit into `width`."""
    return table(_COLUMNS, found, width=width)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in _SIZES and isinstance(value, int):
        return shown_size(value)
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"
