"""Keys as a table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ci_cli.tables.fitting import Column, Cut, table
from ci_cli.tables.times import local


def key_table(keys: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return keys as a table with a head."""
    shown = (
        Column("ID", lambda key: key["id"]),
        Column("NAME", lambda key: key["name"], cut=Cut.END),
        Column("MAY", _may, cut=Cut.END),
        Column("IN", _where, cut=Cut.END),
        Column("OWNER", lambda key: key["owner"], cut=Cut.END, spare=2),
        Column("LAST USED", lambda key: local(key["last_used"]) or "never", spare=1),
        Column("STATE", _state),
    )
    return table(shown, keys, width=width)


def _may(key: dict[str, Any]) -> str:
    return key["role"] or ", ".join(scope for scope in key["scopes"] if scope != "keys:own")


def _where(key: dict[str, Any]) -> str:
    return "all projects" if key["projects"] is None else ", ".join(key["projects"])


def _state(key: dict[str, Any]) -> str:
    if key["revoked"]:
        return f"revoked {local(key['revoked'])}"
    if key["expires"]:
        has_expired = datetime.fromisoformat(key["expires"]) <= datetime.now(UTC)
        return f"{'expired' if has_expired else 'expires'} {local(key['expires'])}"
    return "valid"
