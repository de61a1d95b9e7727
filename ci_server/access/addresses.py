"""Refuses to serve an address that others reach while everyone who reaches it may do everything."""

from ci_common.errors import SettingsError
from ci_common.parsing.hosts import canonical_host
from ci_common.settings import Settings
from ci_persistence.stores.access.keys import KeyStore
from ci_server.http.application import is_loopback


class OpenAddress(SettingsError):
    """The address is not a loopback address, and the database has no keys."""


async def check_address(settings: Settings, keys: KeyStore) -> None:
    """Raise OpenAddress where the settings would let everyone in the network do everything. Raises Unavailable."""
    if (
        settings.auth != "auto"
        or settings.oidc_config is not None
        or is_loopback(canonical_host(settings.host) or "")
        or await keys.any()
    ):
        return
    raise OpenAddress(
        f"everyone who reaches the address {settings.host} could run code here, since the database has no keys: make "
        "the first one with `ci keys create --admin` (with the same CI_DB_PATH or CI_DATABASE_URL), or listen on "
        "127.0.0.1. CI_AUTH=required serves it and refuses every request until there is a key; `ci serve --insecure` "
        "(CI_AUTH=insecure) lets everyone in"
    )
