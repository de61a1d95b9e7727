"""Prepared environments: the controller writes their rows, and either side may delete one."""

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import datetime
from functools import partial

from ci_common.environments import Environment
from ci_common.times import from_micros, to_micros
from ci_persistence.database import Database, Row, Session
from ci_persistence.dialects import Statement
from ci_persistence.rows import to_json
from ci_persistence.stores.leases import Lease, check_leads, leads

_COLUMNS = tuple(field.name for field in fields(Environment))
_NAMES = ", ".join(_COLUMNS)

_GET = Statement(f"SELECT {_NAMES} FROM environments WHERE key = :key")
_LIST = Statement(f"SELECT {_NAMES} FROM environments ORDER BY last_used_time DESC, key LIMIT :limit")
_LIST_OF = Statement(
    lambda sql: (
        f"SELECT {_NAMES} FROM environments WHERE project IN {sql.members('projects')}"
        " ORDER BY last_used_time DESC, key LIMIT :limit"
    )
)
_PUT = Statement(
    lambda sql: (
        f"""
INSERT INTO environments ({_NAMES})
SELECT {", ".join(f":{name}" for name in _COLUMNS)} WHERE {leads(sql.share_lock)}
ON CONFLICT (key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "key")}
"""
    )
)
_TOUCH = Statement(
    lambda sql: (
        f"UPDATE environments SET last_used_time = :now, job_id = :job_id WHERE key = :key AND {leads(sql.share_lock)}"
    )
)
_REMOVE = Statement(lambda sql: f"DELETE FROM environments WHERE key IN {sql.members('keys')}")
_REMOVE_AS_LEADER = Statement(
    lambda sql: f"DELETE FROM environments WHERE key IN {sql.members('keys')} AND {leads(sql.share_lock)}"
)


class EnvironmentStore:
    """The prepared environments of one installation. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str) -> Environment | None:
        """Return the environment, or None if there is none."""
        return await self._database.read(partial(_get, key=key))

    async def list(self, *, limit: int, projects: frozenset[str] | None = None) -> list[Environment]:
        """Return at most `limit` environments, the one that was used last first.

        With `projects`, only those of these projects.
        """
        return await self._database.read(partial(_list, limit=limit, projects=projects))

    async def put(self, environment: Environment, lease: Lease) -> None:
        """Store an environment in the place of the one that has its key. Raises LeadershipLost."""
        await self._database.write(partial(_put, environment=environment, lease=lease))

    async def touch(self, key: str, job_id: str, now: datetime, lease: Lease) -> None:
        """Note that a job uses the environment now; do nothing if there is none. Raises LeadershipLost."""
        await self._database.write(partial(_touch, key=key, job_id=job_id, now=now, lease=lease))

    async def remove(self, keys: Iterable[str], *, lease: Lease | None = None) -> int:
        """Delete the rows, and return how many there were. What they name goes later.

        With `lease`, only while it leads: raises LeadershipLost otherwise.
        """
        return await self._database.write(partial(_remove, keys=list(keys), lease=lease))


def _environment(row: Row) -> Environment:
    columns = {name: row[name] for name in _COLUMNS}
    return Environment(
        **columns
        | {
            "inputs": tuple(json.loads(row["inputs"])),
            "pinned": bool(row["pinned"]),
            "created_time": from_micros(row["created_time"]),
            "last_used_time": from_micros(row["last_used_time"]),
        }
    )


async def _get(session: Session, *, key: str) -> Environment | None:
    return next((_environment(row) for row in await session.rows(_GET, {"key": key})), None)


async def _list(session: Session, *, limit: int, projects: frozenset[str] | None) -> list[Environment]:
    if projects is None:
        return [_environment(row) for row in await session.rows(_LIST, {"limit": limit})]
    values = {"limit": limit, "projects": to_json(sorted(projects))}
    return [_environment(row) for row in await session.rows(_LIST_OF, values)]


async def _put(session: Session, *, environment: Environment, lease: Lease) -> None:
    columns = asdict(environment) | {
        "inputs": to_json(environment.inputs),
        "pinned": int(environment.pinned),
        "created_time": to_micros(environment.created_time),
        "last_used_time": to_micros(environment.last_used_time),
    }
    if await session.execute(_PUT, columns | lease.values()) == 0:
        raise lease.lost()


async def _touch(session: Session, *, key: str, job_id: str, now: datetime, lease: Lease) -> None:
    values = lease.values() | {"key": key, "job_id": job_id, "now": to_micros(now)}
    if await session.execute(_TOUCH, values) == 0:
        await check_leads(session, lease)


async def _remove(session: Session, *, keys: list[str], lease: Lease | None) -> int:
    if lease is None:
        return await session.execute(_REMOVE, {"keys": to_json(keys)})
    number = await session.execute(_REMOVE_AS_LEADER, {"keys": to_json(keys), **lease.values()})
    await check_leads(session, lease)
    return number
