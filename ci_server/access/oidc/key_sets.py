"""The public keys of one issuer: found by its discovery document, kept, and asked for again when they change."""

import asyncio
import logging
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet

from ci_common.errors import Unavailable
from ci_server.access.oidc.fetching import Fetch, discovered, place_in

FRESH_SECONDS: Final = 3600.0
"""How long keys are used without asking for them again."""
STALE_SECONDS: Final = 86_400.0
"""How long keys are used while the issuer does not answer."""
UNKNOWN_SECONDS: Final = 30.0
"""How often the issuer is asked at most, whatever key ids tokens name and whatever it answers."""
_MOST_KEYS: Final = 100

logger = logging.getLogger(__name__)


class IssuerKeys:
    """The keys of one issuer. For one event loop."""

    def __init__(self, issuer: str, keys_url: str | None, fetch: Fetch) -> None:
        self._issuer = issuer
        self._keys_url = keys_url
        self._fetch = fetch
        self._keys: dict[str | None, Key] = {}
        self._got = self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None) -> Key | None:
        """Return the key of this id; without one, the only key. None if the issuer has none. Raises Unavailable.

        Requests that need the keys at the same time wait for one answer.
        """
        now = asyncio.get_running_loop().time()
        is_enough = now - self._got < FRESH_SECONDS and self._get(key_id) is not None
        is_being_asked = self._asking is not None and self._get(key_id) is None
        if is_being_asked or (not is_enough and now - self._asked >= UNKNOWN_SECONDS):
            await self._ask()
        if asyncio.get_running_loop().time() - self._got >= STALE_SECONDS:
            raise Unavailable(f"the keys of the issuer {self._issuer} cannot be had at present; the log says why")
        return self._get(key_id)

    async def close(self) -> None:
        """End what is still being asked."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _get(self, key_id: str | None) -> Key | None:
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    async def _ask(self) -> None:
        if self._asking is None or self._asking.done():
            self._asked = asyncio.get_running_loop().time()
            self._asking = asyncio.create_task(self._refresh(), name="keys of an issuer")
        await asyncio.shield(self._asking)

    async def _refresh(self) -> None:
        try:
            url = self._keys_url or place_in(await discovered(self._fetch, self._issuer), "jwks_uri", self._issuer)
            self._keys = _read(await self._fetch(url))
            self._got = asyncio.get_running_loop().time()
        except (TimeoutError, OSError, ValueError) as exc:
            logger.warning("the keys of the issuer %s cannot be had: %s", self._issuer, exc or type(exc).__name__)
        finally:
            self._asking = None


def _read(document: Any) -> dict[str | None, Key]:
    """Return the public keys for signatures by their ids; others are left out. Raises ValueError."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it answers with something else than keys")
    found: dict[str | None, Key] = {}
    for entry in entries[:_MOST_KEYS]:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
            continue
        try:
            (key,) = KeySet.import_key_set({"keys": [entry]}).keys
        except (JoseError, ValueError, KeyError, TypeError) as exc:
            logger.info("a key of an issuer cannot be used: %s", exc)
            continue
        key_id = entry.get("kid")
        found[key_id if isinstance(key_id, str) else None] = key
    return found
