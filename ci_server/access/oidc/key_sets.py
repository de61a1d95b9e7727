"""The public keys of one issuer: found by its discovery document, kept, and asked for again when they change."""

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet

from ci_common.errors import Unavailable
from ci_common.parsing.text import shown

FRESH_SECONDS: Final = 3600.0
"""How long keys are used without asking for them again."""
STALE_SECONDS: Final = 86_400.0
"""How long keys are used while the issuer does not answer."""
UNKNOWN_SECONDS: Final = 30.0
"""How often the issuer is asked at most, whatever key ids tokens name and whatever it answers."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_LARGEST: Final = 1024**2
_MOST_KEYS: Final = 100
_DISCOVERY: Final = "/.well-known/openid-configuration"

Fetch = Callable[[str], Awaitable[Any]]
"""Returns the JSON document at a URL. Raises OSError, ValueError, TimeoutError."""

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
            url = self._keys_url or await self._discover()
            self._keys = _read(await self._fetch(url))
            self._got = asyncio.get_running_loop().time()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            logger.warning("the keys of the issuer %s cannot be had: %s", self._issuer, exc or type(exc).__name__)
        finally:
            self._asking = None

    async def _discover(self) -> str:
        document = await self._fetch(self._issuer.removesuffix("/") + _DISCOVERY)
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise ValueError("its discovery document names another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or urlsplit(url).scheme not in (urlsplit(self._issuer).scheme, "https"):
            raise ValueError(f"its discovery document has no jwks_uri that can be used: {shown(url)}")
        return url


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


class Fetcher:
    """Gets JSON documents from issuers: no redirects, at most 1 MiB, within ten seconds. For one event loop."""

    def __init__(self, ca_bundle: str) -> None:
        """`ca_bundle` is a file with certificates to trust besides those of the system, or not a file."""
        self._ca_bundle = ca_bundle
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, url: str) -> Any:
        """Return the document. Raises aiohttp.ClientError, ValueError, TimeoutError, OSError."""
        if self._session is None:
            context = await asyncio.to_thread(self._context)
            connector = aiohttp.TCPConnector(ssl=context, limit=4)
            self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, trust_env=True)
        async with self._session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as answer:
            if answer.status != 200:
                raise ValueError(f"{url} answers with status {answer.status}")
            body = await answer.content.read(_LARGEST + 1)
            while len(body) <= _LARGEST and (more := await answer.content.read(_LARGEST + 1 - len(body))):
                body += more
        if len(body) > _LARGEST:
            raise ValueError(f"{url} answers with more than {_LARGEST} bytes")
        return json.loads(body)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_bundle.startswith("/"):
            context.load_verify_locations(self._ca_bundle)
        return context
