"""`ci keys create --admin`: a key that may do everything, made in the database where the server runs."""

from datetime import timedelta
from typing import Any

from ci_common.access.identity import LOCAL, Role
from ci_common.access.keys import Key, new_secret
from ci_common.parsing.models import validated
from ci_common.settings import Settings
from ci_common.sharing.audit import command_entry
from ci_common.system.reporting import log_to_stderr
from ci_common.times import utc_now
from ci_common.wire.access.keys import KeyRequest, key_on_wire
from ci_persistence.audited import Noted
from ci_persistence.open import open_installation


async def admin_key(settings: Settings, name: str, *, owner: str | None, seconds: float | None) -> dict[str, Any]:
    """Make the key, and return it as `POST /keys` answers. Raises InvalidRequest, WrongDataDirectory, Unavailable."""
    log_to_stderr("warning", form="ci: %(message)s")
    fields = {"name": name, "role": Role.ADMIN, "owner": owner, "expires_in": seconds}
    wanted = validated(KeyRequest, fields, source="the key")
    secret, now = new_secret(), utc_now()
    key = Key(
        id=secret.id,
        name=wanted.name,
        owner=wanted.owner or wanted.name,
        role=Role.ADMIN,
        digest=secret.digest,
        created_time=now,
        created_by=LOCAL.name,
        expires=None if wanted.expires_in is None else now + timedelta(seconds=wanted.expires_in),
    )
    async with open_installation(settings) as storage:
        entry = command_entry("create_key", "ci keys create --admin", f"/keys/{key.id}")
        await storage.audited(Noted(entry)).keys.add(key)
    return {**key_on_wire(key), "key": secret.key}
