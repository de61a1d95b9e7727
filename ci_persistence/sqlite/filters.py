"""From a `JobFilter` to the conditions of a query and their parameters."""

from typing import Any

from ci_common.jobs import State
from ci_common.times import to_micros
from ci_persistence.repository import JobFilter
from ci_persistence.sqlite.rows import to_json


def parameters(where: JobFilter, older_than: str | None) -> dict[str, Any]:
    """Return the values of the conditions that narrow, by the names that `queries.CONDITIONS` has for them.

    `json_text` comes beside `text` and is no condition of its own.
    """
    values = {
        "older_than": older_than,
        "unfinished": (where.states and State.COMPLETED not in where.states) or None,
        "states": to_json(sorted(where.states)) if where.states else None,
        "conclusion": where.conclusion,
        "type": where.type,
        "project": where.project,
        "labels": to_json(where.labels) if where.labels else None,
        "text": _containing(where.text) if where.text else None,
        # Inside of JSON a quotation mark, a backslash and control characters are escaped.
        "json_text": _containing(to_json(where.text)[1:-1]) if where.text else None,
        "since": None if where.since is None else to_micros(where.since),
        "before": None if where.before is None else to_micros(where.before),
    }
    return {name: value for name, value in values.items() if value is not None}


def _containing(text: str) -> str:
    r"""Return the LIKE pattern, with `\` as its escape, for what contains `text`."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"
