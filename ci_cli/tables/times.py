"""Times and durations of records as text for people."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ci_client.formatting import span

_WITHOUT_YEAR = slice(5, 16)


def local(instant: str | None) -> str:
    """Return an instant in this machine's time zone; empty for none."""
    return datetime.fromisoformat(instant).astimezone().strftime("%Y-%m-%d %H:%M:%S") if instant else ""


def local_short(instant: str | None) -> str:
    """Return the same without year and seconds."""
    return local(instant)[_WITHOUT_YEAR]


def took(record: Mapping[str, Any]) -> str:
    """Return how long a job, an attempt or a step took, or has taken until now; empty if it has not started."""
    if not record.get("start_time"):
        return ""
    end = record.get("end_time")
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return span(max(0.0, (until - datetime.fromisoformat(record["start_time"])).total_seconds()))


def seconds(value: float | None) -> str:
    """Return the duration of a test; empty if it is not known."""
    return "" if value is None else f"{value:.2f} s"
