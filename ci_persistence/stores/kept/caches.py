"""Caches: the controller writes their rows, and either side may delete one."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from functools import partial

from ci_common.spec_parts.caches import StoredCache
from ci_common.times import from_micros, to_micros
from ci_persistence.database import Database, Row, Session
from ci_persistence.dialects import Statement
from ci_persistence.rows import to_json
from ci_persistence.stores.leases import Lease, check_leads, leads

_COLUMNS = tuple(field.name for field in fields(StoredCache))
_NAMES = ", ".join(_COLUMNS)
_OF_A_JOB = f"SELECT {_NAMES} FROM caches WHERE scope = :scope AND path = :path"

_GET = Statement(f"SELECT {_NAMES} FROM caches WHERE id = :id")
_EXACT = Statement(f"{_OF_A_JOB} AND key = :key")
_NEWEST = Statement(
    f"{_OF_A_JOB} AND substr(key, 1, length(CAST(:key AS TEXT))) = :key ORDER BY created_time DESC, id DESC LIMIT 3"
)
_LIST = Statement(f"SELECT {_NAMES} FROM caches ORDER BY last_used_time DESC, id DESC LIMIT :limit")
_LIST_OF = Statement(
    lambda sql: (
        f"SELECT {_NAMES} FROM caches WHERE project IN {sql.members('projects')}"
        " ORDER BY last_used_time DESC, id DESC LIMIT :limit"
    )
)
_KEEP = Statement(
    lambda sql: (
        f"""
INSERT INTO caches ({_NAMES})
SELECT {", ".join(f":{name}" for name in _COLUMNS)} WHERE {leads(sql.share_lock)}
ON CONFLICT (scope, path, key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)}
"""
    )
)
_NOTE_USE = Statement(lambda sql: f"UPDATE caches SET last_used_time = :now WHERE id = :id AND {leads(sql.share_lock)}")
_DROP = Statement(lambda sql: f"DELETE FROM caches WHERE id IN {sql.members('ids')}")
_DROP_AS_LEADER = Statement(
    lambda sql: f"DELETE FROM caches WHERE id IN {sql.members('ids')} AND {leads(sql.share_lock)}"
)


class CacheStore:
    """The caches of one installation. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, identity: str) -> StoredCache | None:
        """Return the cache with this id, or None if there is none."""
        return await self._database.read(partial(_get, identity=identity))

    async def candidates(self, scope: str, path: str, key: str, prefixes: Sequence[str]) -> list[StoredCache]:
        """Return what a job may take, best first: the cache that has `key`, then for each prefix the newest ones."""
        return await self._database.read(partial(_candidates, scope=scope, path=path, key=key, prefixes=prefixes))

    async def list(self, *, limit: int, projects: frozenset[str] | None = None) -> list[StoredCache]:
        """Return at most `limit` caches, the one that was used last first.

        With `projects`, only those of these projects.
        """
        return await self._database.read(partial(_list, limit=limit, projects=projects))

    async def keep(self, cache: StoredCache, lease: Lease) -> None:
        """Store a cache in the place of the one that has its scope, path and key. Raises LeadershipLost."""
        await self._database.write(partial(_keep, cache=cache, lease=lease))

    async def note_use(self, identity: str, now: datetime, lease: Lease) -> None:
        """Note that a job uses the cache now; do nothing if there is none. Raises LeadershipLost."""
        await self._database.write(partial(_note_use, identity=identity, now=now, lease=lease))

    async def drop(self, ids: Iterable[str], *, lease: Lease | None = None) -> int:
        """Delete the rows, and return how many there were. Their archives go later.

        With `lease`, only while it leads: raises LeadershipLost otherwise.
        """
        return await self._database.write(partial(_drop, ids=list(ids), lease=lease))


def _cache(row: Row) -> StoredCache:
    columns = {name: row[name] for name in _COLUMNS}
    times = {name: from_micros(row[name]) for name in ("created_time", "last_used_time")}
    return StoredCache(**columns | times)


async def _get(session: Session, *, identity: str) -> StoredCache | None:
    return next((_cache(row) for row in await session.rows(_GET, {"id": identity})), None)


async def _candidates(
    session: Session, *, scope: str, path: str, key: str, prefixes: Sequence[str]
) -> list[StoredCache]:
    found: dict[str, StoredCache] = {}
    for statement, text in [(_EXACT, key), *((_NEWEST, prefix) for prefix in prefixes)]:
        for row in await session.rows(statement, {"scope": scope, "path": path, "key": text}):
            found.setdefault(row["id"], _cache(row))
    return list(found.values())


async def _list(session: Session, *, limit: int, projects: frozenset[str] | None) -> list[StoredCache]:
    if projects is None:
        return [_cache(row) for row in await session.rows(_LIST, {"limit": limit})]
    values = {"limit": limit, "projects": to_json(sorted(projects))}
    return [_cache(row) for row in await session.rows(_LIST_OF, values)]


async def _keep(session: Session, *, cache: StoredCache, lease: Lease) -> None:
    times = {name: to_micros(getattr(cache, name)) for name in ("created_time", "last_used_time")}
    if await session.execute(_KEEP, asdict(cache) | times | lease.values()) == 0:
        raise lease.lost()


async def _note_use(session: Session, *, identity: str, now: datetime, lease: Lease) -> None:
    if await session.execute(_NOTE_USE, lease.values() | {"id": identity, "now": to_micros(now)}) == 0:
        await check_leads(session, lease)


async def _drop(session: Session, *, ids: list[str], lease: Lease | None) -> int:
    if lease is None:
        return await session.execute(_DROP, {"ids": to_json(ids)})
    number = await session.execute(_DROP_AS_LEADER, {"ids": to_json(ids), **lease.values()})
    await check_leads(session, lease)
    return number
