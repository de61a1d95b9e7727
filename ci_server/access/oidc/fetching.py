"""What issuers are asked: documents, and the exchange of a code. No redirects, at most 1 MiB, within ten seconds."""

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from ci_common.parsing.text import shown

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_LARGEST: Final = 1024**2
_DISCOVERY: Final = "/.well-known/openid-configuration"

Fetch = Callable[[str], Awaitable[Any]]
"""Returns the JSON document at a URL. Raises OSError, ValueError, TimeoutError."""


class Fetcher:
    """Asks issuers. For one event loop."""

    def __init__(self, ca_bundle: str) -> None:
        """`ca_bundle` is a file with certificates to trust besides those of the system, or not a file."""
        self._ca_bundle = ca_bundle
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, url: str) -> Any:
        """Return the document at a URL. Raises ValueError, TimeoutError, OSError."""
        status, document = await self._ask("GET", url)
        if status != 200:
            raise ValueError(f"{url} answers with status {status}")
        return document

    async def post(self, url: str, form: Mapping[str, str], credentials: tuple[str, str] | None) -> tuple[int, Any]:
        """Send a form, with a name and a password if given; return status and document of the answer. Raises as above.

        What is sent is in no error.
        """
        headers = {}
        if credentials is not None:
            headers["Authorization"] = f"Basic {b64encode(':'.join(credentials).encode()).decode()}"
        return await self._ask("POST", url, headers, data=dict(form))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str] = MappingProxyType({}), **more: Any
    ) -> tuple[int, Any]:
        if self._session is None:
            context = await asyncio.to_thread(self._context)
            connector = aiohttp.TCPConnector(ssl=context, limit=4)
            self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, trust_env=True)
        headers = {"Accept": "application/json", **headers}
        try:
            async with self._session.request(method, url, allow_redirects=False, headers=headers, **more) as answer:
                body = await answer.content.read(_LARGEST + 1)
                while len(body) <= _LARGEST and (rest := await answer.content.read(_LARGEST + 1 - len(body))):
                    body += rest
        except aiohttp.ClientError as exc:
            raise OSError(str(exc) or type(exc).__name__) from exc
        if len(body) > _LARGEST:
            raise ValueError(f"{url} answers with more than {_LARGEST} bytes")
        try:
            return answer.status, json.loads(body)
        except (ValueError, RecursionError):
            raise ValueError(f"{url} answers with status {answer.status}, and not with JSON") from None

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_bundle.startswith("/"):
            context.load_verify_locations(self._ca_bundle)
        return context


async def discovered(fetch: Fetch, issuer: str) -> Mapping[str, Any]:
    """Return the discovery document of an issuer. Raises as `Fetch`."""
    document = await fetch(issuer.removesuffix("/") + _DISCOVERY)
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise ValueError("its discovery document names another issuer")
    return document


def place_in(document: Mapping[str, Any], name: str, issuer: str) -> str:
    """Return a URL in the discovery document of an issuer. Raises ValueError for one that is not as safe as its own."""
    url = document.get(name)
    if not isinstance(url, str) or urlsplit(url).scheme not in (urlsplit(issuer).scheme, "https"):
        raise ValueError(f"its discovery document has no {name} that can be used: {shown(url)}")
    return url
