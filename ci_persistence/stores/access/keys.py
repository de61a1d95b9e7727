"""API keys, and the sessions of browsers, which are keys of their own kind.

The row of a key stays after it has been revoked: a server that once had keys lets no one in without. Those of sessions
are deleted a week after they have ended, when another one begins.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from ci_common.access.identity import Role, Scope
from ci_common.access.keys import Key, KeyKind
from ci_common.times import from_micros, to_micros
from ci_persistence.database import Database, Row, Session
from ci_persistence.dialects import Statement
from ci_persistence.rows import to_json

_TIMES = ("previous_until", "created_time", "expires", "last_used_time", "revoked_time")
_COLUMNS = (
    *("id", "name", "owner", "role", "scopes", "projects", "digest", "previous_digest", "previous_until"),
    *("created_time", "created_by", "expires", "last_used_time", "revoked_time", "kind", "made_from"),
)
_NAMES = ", ".join(_COLUMNS)
_NOTED_AFTER: Final = timedelta(minutes=1)
_SESSIONS_KEPT: Final = timedelta(days=7)

_GET = Statement(f"SELECT {_NAMES} FROM keys WHERE id = :id")
_GET_MANY = Statement(lambda sql: f"SELECT {_NAMES} FROM keys WHERE id IN {sql.members('ids')}")
_ANY = Statement("SELECT EXISTS (SELECT 1 FROM keys) AS found")
_LIST = Statement(f"SELECT {_NAMES} FROM keys ORDER BY created_time DESC, id")
_ADD = Statement(f"INSERT INTO keys ({_NAMES}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})")
_REVOKE = Statement("UPDATE keys SET revoked_time = :now WHERE id = :id AND revoked_time IS NULL")
_REVOKE_SESSIONS = Statement("UPDATE keys SET revoked_time = :now WHERE made_from = :id AND revoked_time IS NULL")
_REVOKE_ALL = Statement("UPDATE keys SET revoked_time = :now WHERE revoked_time IS NULL")
# With no overlap, the secret before ends now, whatever was said of it.
_ROTATE = Statement("""
UPDATE keys SET previous_digest = digest, previous_until = :until, digest = :digest
WHERE id = :id AND kind = 'key' AND revoked_time IS NULL
    AND (:overlaps = 0 OR previous_until IS NULL OR previous_until <= :now)
""")
# A session does not outlive the secret that it was begun with.
_ROTATE_SESSIONS = Statement("UPDATE keys SET expires = :until WHERE made_from = :id AND expires > :until")
# Holds the row of the key, so that what ends the key comes before the session, which then does not begin, or ends both.
_HOLD = Statement("""
UPDATE keys SET last_used_time = :now
WHERE id = :id AND kind = 'key' AND revoked_time IS NULL AND (expires IS NULL OR expires > :now)
    AND (digest = :digest OR (previous_digest = :digest AND previous_until > :now))
""")
_FORGET_SESSIONS = Statement("DELETE FROM keys WHERE kind = 'session' AND expires < :before")
_NOTE_USE = Statement("""
UPDATE keys SET last_used_time = :now WHERE id = :id AND (last_used_time IS NULL OR last_used_time < :before)
""")


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new secret for a key, and until when the present one is accepted too."""

    digest: str
    now: datetime
    overlap: timedelta


class KeyStore:
    """The keys of one installation. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key_id: str) -> Key | None:
        """Return the key with this id, also one that is revoked; None if there is none."""
        return await self._database.read(partial(_get, key_id=key_id))

    async def get_many(self, key_ids: Iterable[str]) -> dict[str, Key]:
        """Return those of the keys that there are, by id, as `get` does."""
        return await self._database.read(partial(_get_many, key_ids=list(key_ids)))

    async def any(self) -> bool:
        """Return whether a key has ever been made."""
        return await self._database.read(_any)

    async def list(self) -> list[Key]:
        """Return all keys, the newest first."""
        return await self._database.read(_list)

    async def add(self, key: Key) -> None:
        """Store a new key. Raises ValueError if there is one with its id."""
        await self._database.write(partial(_add, key=key))

    async def add_session(self, session: Key, digest: str) -> bool:
        """Store a new session. Return False, without a change, if its key does not accept `digest` any more.

        A session without a key is stored whatever `digest` says.
        """
        return await self._database.write(partial(_add_session, key=session, digest=digest))

    async def revoke(self, key_id: str, now: datetime) -> bool:
        """Accept the key, and the sessions begun with it, no more. Return whether it has been revoked by this call."""
        return await self._database.write(partial(_revoke, key_id=key_id, now=now))

    async def revoke_all(self, now: datetime) -> int:
        """Accept no key any more from now on. Return how many this call has revoked."""
        return await self._database.write(partial(_revoke_all, now=now))

    async def rotate(self, key_id: str, rotation: Rotation) -> bool:
        """Give a key another secret. The present one is accepted until the overlap is over, and no other.

        The sessions that were begun with it end then, too.

        Return False, without a change, if there is no such key, or if with this overlap a secret that was promised an
        overlap would end early.
        """
        return await self._database.write(partial(_rotate, key_id=key_id, rotation=rotation))

    async def note_use(self, key_id: str, now: datetime) -> None:
        """Note that the key is used now. Nothing is written if a use was noted less than a minute ago."""
        await self._database.write(partial(_note_use, key_id=key_id, now=now), vital=False)


def _key(row: Row) -> Key:
    columns: dict[str, Any] = {name: row[name] for name in _COLUMNS}
    projects = None if row["projects"] is None else frozenset(json.loads(row["projects"]))
    times = {name: None if row[name] is None else from_micros(row[name]) for name in _TIMES}
    return Key(
        **columns
        | times
        | {
            "role": None if row["role"] is None else Role(row["role"]),
            # A scope that only a newer version knows gives nothing here.
            "scopes": frozenset(Scope(scope) for scope in json.loads(row["scopes"]) if scope in set(Scope)),
            "projects": projects,
            "kind": KeyKind(row["kind"]),
        }
    )


def _values(key: Key) -> Mapping[str, Any]:
    values: dict[str, Any] = {name: getattr(key, name) for name in _COLUMNS}
    times = {name: None if values[name] is None else to_micros(values[name]) for name in _TIMES}
    projects = None if key.projects is None else to_json(sorted(key.projects))
    return values | times | {"scopes": to_json(sorted(key.scopes)), "projects": projects}


async def _get(session: Session, *, key_id: str) -> Key | None:
    return next((_key(row) for row in await session.rows(_GET, {"id": key_id})), None)


async def _get_many(session: Session, *, key_ids: Sequence[str]) -> dict[str, Key]:
    return {row["id"]: _key(row) for row in await session.rows(_GET_MANY, {"ids": to_json(key_ids)})}


async def _any(session: Session) -> bool:
    return bool((await session.row(_ANY))["found"])


async def _list(session: Session) -> list[Key]:
    return [_key(row) for row in await session.rows(_LIST)]


async def _add(session: Session, *, key: Key) -> None:
    await session.execute(_ADD, _values(key))


async def _add_session(session: Session, *, key: Key, digest: str) -> bool:
    now = to_micros(key.created_time)
    if key.made_from is not None:
        held = await session.execute(_HOLD, {"id": key.made_from, "digest": digest, "now": now})
        if not held:
            return False
    await session.execute(_FORGET_SESSIONS, {"before": to_micros(key.created_time - _SESSIONS_KEPT)})
    await session.execute(_ADD, _values(key))
    return True


async def _revoke(session: Session, *, key_id: str, now: datetime) -> bool:
    values = {"id": key_id, "now": to_micros(now)}
    is_revoked = await session.execute(_REVOKE, values) > 0
    await session.execute(_REVOKE_SESSIONS, values)
    return is_revoked


async def _revoke_all(session: Session, *, now: datetime) -> int:
    return await session.execute(_REVOKE_ALL, {"now": to_micros(now)})


async def _rotate(session: Session, *, key_id: str, rotation: Rotation) -> bool:
    now, until = to_micros(rotation.now), to_micros(rotation.now + rotation.overlap)
    values = {"id": key_id, "digest": rotation.digest, "now": now, "until": until, "overlaps": int(until > now)}
    if not await session.execute(_ROTATE, values):
        return False
    await session.execute(_ROTATE_SESSIONS, {"id": key_id, "until": until})
    return True


async def _note_use(session: Session, *, key_id: str, now: datetime) -> None:
    values = {"id": key_id, "now": to_micros(now), "before": to_micros(now - _NOTED_AFTER)}
    await session.execute(_NOTE_USE, values)
