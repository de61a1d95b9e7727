"""Secrets. A value is ciphertext; the keys that open it are in no database."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from ci_common.secrets.stored import StoredSecret
from ci_common.times import from_micros, to_micros
from ci_persistence.database import Database, Row, Session
from ci_persistence.dialects import Statement

# Rows of no project have the empty text, so that project and name are a key in both databases.
_NO_PROJECT: Final = ""
_COLUMNS = (
    *("project", "name", "sealed", "reference", "is_masked"),
    *("created_time", "created_by", "changed_time", "changed_by"),
)
_NAMES = ", ".join(_COLUMNS)
_ROW = "WHERE project = :project AND name = :name"

_GET = Statement(f"SELECT {_NAMES} FROM secrets {_ROW}")
_LIST = Statement(f"SELECT {_NAMES} FROM secrets ORDER BY project, name")
_PUT = Statement(f"""
INSERT INTO secrets ({_NAMES}) VALUES ({", ".join(f":{name}" for name in _COLUMNS)})
ON CONFLICT (project, name) DO UPDATE SET
    sealed = excluded.sealed, reference = excluded.reference, is_masked = excluded.is_masked,
    changed_time = excluded.changed_time, changed_by = excluded.changed_by
""")
_REPLACE = Statement(f"""
UPDATE secrets SET sealed = :sealed, reference = :reference, is_masked = :is_masked, changed_time = :changed_time,
    changed_by = :changed_by
{_ROW}
""")
_REMOVE = Statement(f"DELETE FROM secrets {_ROW}")
_RESEAL = Statement(f"UPDATE secrets SET sealed = :sealed {_ROW} AND sealed = :before")


class SecretStore:
    """The secrets of one installation. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, project: str | None, name: str) -> StoredSecret | None:
        """Return the secret of this project, or of none, with this name; None if there is none."""
        return await self._database.read(partial(_get, key=_key(project, name)))

    async def list(self) -> list[StoredSecret]:
        """Return all secrets, those of no project first, then by project and name."""
        return await self._database.read(_list)

    async def put(self, secret: StoredSecret) -> None:
        """Store a secret, in the place of the one that may be there, which keeps when and by whom it was made."""
        await self._database.write(partial(_put, secret=secret))

    async def replace(self, secret: StoredSecret) -> bool:
        """Store a secret as `put` does, if there is one in its place; return whether there was."""
        return await self._database.write(partial(_replace, secret=secret))

    async def remove(self, project: str | None, name: str) -> bool:
        """Remove a secret; return whether there was one."""
        return await self._database.write(partial(_remove, key=_key(project, name)))

    async def reseal(self, secret: StoredSecret, sealed: str) -> bool:
        """Store the same value sealed by another key; return False where it has been changed since it was read."""
        return await self._database.write(partial(_reseal, secret=secret, sealed=sealed))


def _key(project: str | None, name: str) -> Mapping[str, Any]:
    return {"project": project or _NO_PROJECT, "name": name}


def _secret(row: Row) -> StoredSecret:
    columns: dict[str, Any] = {name: row[name] for name in _COLUMNS}
    return StoredSecret(
        **columns
        | {
            "project": row["project"] or None,
            "is_masked": bool(row["is_masked"]),
            "created_time": from_micros(row["created_time"]),
            "changed_time": from_micros(row["changed_time"]),
        }
    )


def _values(secret: StoredSecret) -> Mapping[str, Any]:
    return {name: getattr(secret, name) for name in _COLUMNS} | {
        "project": secret.project or _NO_PROJECT,
        "is_masked": int(secret.is_masked),
        "created_time": to_micros(secret.created_time),
        "changed_time": to_micros(secret.changed_time),
    }


async def _get(session: Session, *, key: Mapping[str, Any]) -> StoredSecret | None:
    return next((_secret(row) for row in await session.rows(_GET, key)), None)


async def _list(session: Session) -> list[StoredSecret]:
    return [_secret(row) for row in await session.rows(_LIST)]


async def _put(session: Session, *, secret: StoredSecret) -> None:
    await session.execute(_PUT, _values(secret))


async def _replace(session: Session, *, secret: StoredSecret) -> bool:
    changed = ("project", "name", "sealed", "reference", "is_masked", "changed_time", "changed_by")
    values = _values(secret)
    return await session.execute(_REPLACE, {name: values[name] for name in changed}) > 0


async def _remove(session: Session, *, key: Mapping[str, Any]) -> bool:
    return await session.execute(_REMOVE, key) > 0


async def _reseal(session: Session, *, secret: StoredSecret, sealed: str) -> bool:
    values = {**_key(secret.project, secret.name), "before": secret.sealed, "sealed": sealed}
    return await session.execute(_RESEAL, values) > 0
