"""What the repository does with a connection to delete jobs; see `operations`, whose rules hold here, too."""

import json
import sqlite3
from typing import Any

from ci_common.times import to_micros
from ci_persistence.repository import Lease
from ci_persistence.retention import Ended, Removal
from ci_persistence.sqlite import retention_queries as queries
from ci_persistence.sqlite.operations import change, key_of, over, row_of
from ci_persistence.sqlite.rows import to_json


def ended(connection: sqlite3.Connection, *, where: Ended, limit: int) -> list[str]:
    values = _values(where)
    return _ids(connection, queries.list_ended(values), values | {"limit": limit})


def crowded_projects(connection: sqlite3.Connection, *, more_than: int) -> list[str]:
    return _ids(connection, queries.CROWDED_PROJECTS, {"more_than": more_than})


def delete(connection: sqlite3.Connection, *, job_ids: list[str], lease: Lease | None) -> list[str]:
    values = {"ids": to_json(job_ids)}
    if lease is None:
        deleted = _ids(connection, queries.DELETE_JOBS, values)
    else:
        deleted = _ids(connection, queries.DELETE_JOBS_AS_LEADER, values | key_of(lease))
        if not deleted:
            _check_leads(connection, lease)
    return sorted(deleted, key=job_ids.index)


def removals(connection: sqlite3.Connection, *, after: str, limit: int) -> list[Removal]:
    rows = connection.execute(queries.LIST_REMOVALS, {"after": after, "limit": limit})
    return [Removal(row["job_id"], frozenset(json.loads(row["runtimes"]))) for row in rows]


def count_removals(connection: sqlite3.Connection) -> int:
    return int((row_of(connection, queries.COUNT_REMOVALS))["number"])


def forget_removals(connection: sqlite3.Connection, *, job_ids: list[str], lease: Lease) -> None:
    if change(connection, queries.FORGET_REMOVALS, {"ids": to_json(job_ids), **key_of(lease)}) == 0:
        _check_leads(connection, lease)


def _check_leads(connection: sqlite3.Connection, lease: Lease) -> None:
    if not (row_of(connection, queries.ASK_LEADS, key_of(lease)))["leads"]:
        raise over(lease)


def _ids(connection: sqlite3.Connection, statement: str, values: dict[str, Any]) -> list[str]:
    return [row[0] for row in connection.execute(statement, values)]


def _values(where: Ended) -> dict[str, Any]:
    """Return the values of the conditions that narrow, by their names in `queries.list_ended`."""
    values = {
        "project": where.project,
        "other_than": to_json(sorted(where.other_than)) if where.other_than else None,
        "conclusions": to_json(sorted(where.conclusions)) if where.conclusions else None,
        "has_upload": 1 if where.with_upload else None,
        "since": None if where.since is None else to_micros(where.since),
        "before": None if where.before is None else to_micros(where.before),
        "keep": where.keep or None,
    }
    return {name: value for name, value in values.items() if value is not None}
