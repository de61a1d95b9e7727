"""Keys in a database, as `POST /keys` makes them."""

from typing import Any

from ci_common.access.identity import Role
from ci_common.access.keys import Key, new_secret
from ci_common.times import utc_now
from ci_persistence.storage import Storage


def a_key(**fields: Any) -> tuple[Key, str]:
    """Return a key as it is stored, by default of an administrator, and the key itself."""
    secret = new_secret()
    given: dict[str, Any] = {"name": "a key", "owner": "alice", "created_time": utc_now(), "created_by": "local"}
    if "scopes" not in fields:
        given["role"] = Role.ADMIN
    return Key(id=secret.id, digest=secret.digest, **{"role": None, **given, **fields}), secret.key


async def stored_key(storage: Storage, **fields: Any) -> str:
    """Store a key, and return it."""
    key, text = a_key(**fields)
    await storage.keys.add(key)
    return text


def bearing(key: str) -> dict[str, str]:
    """Return the header that sends a key."""
    return {"Authorization": f"Bearer {key}"}
