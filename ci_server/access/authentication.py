"""From a request to the identity of its sender: by its key or token, or without one while none are needed.

What the database says of a key is believed for KNOWN_SECONDS, so that a request costs no read of the database. After
that time at most, a key that is revoked elsewhere is not accepted any more.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from ci_common.errors import Unavailable
from ci_common.identity import LOCAL, Identity, Role
from ci_common.keys import Key, digest_of, id_in
from ci_common.parsing.hosts import canonical_host
from ci_common.settings import Settings
from ci_common.times import utc_now
from ci_persistence.stores.access.keys import KeyStore
from ci_persistence.stores.access.projects import ProjectStore
from ci_server.access.oidc.configuration import Issuer
from ci_server.access.oidc.tokens import OidcTokens, is_token
from ci_server.access.open_keys import End, OpenKeys
from ci_server.access.rates import FailedKeys
from ci_server.access.remembering import Memory, Remembered
from ci_server.access.stream_tickets import StreamTickets
from ci_server.http.application import is_loopback
from ci_server.http.forwarding import FORWARDED
from ci_server.http.refusals import KeyInvalid, KeyMissing

KNOWN_SECONDS: Final = 2.0
_MOST_KNOWN: Final = 1024
_NOTED_SECONDS: Final = 60.0
_BEARER: Final = "bearer "
_NO_KEY: Final = (
    "the request has no key: send it as Authorization: Bearer KEY. The commands do it once `ci login` has been told "
    "the key, or with CI_TOKEN"
)
_FIRST_KEY: Final = "; the first one is made where the server runs, with: ci keys create --admin"
_NO_ISSUERS: Final = "the request has a token of an OpenID Connect issuer, and this server trusts none (CI_OIDC_CONFIG)"
_NOT_VALID: Final = "the key is not one of this server, or has been replaced"

logger = logging.getLogger(__name__)


class Authentication:
    """Knows the senders of requests. For one event loop."""

    def __init__(self, settings: Settings, keys: KeyStore, projects: ProjectStore, tickets: StreamTickets) -> None:
        """Raises SettingsError."""
        self._tickets = tickets
        self._mode = settings.auth
        self._tokens = OidcTokens.of(settings)
        self._keys = keys
        self._projects = projects
        self._memberships: Memory[tuple[tuple[str, Role], ...]] = Memory(_MOST_KNOWN)
        self._failed = FailedKeys(settings)
        self._open = OpenKeys(keys)
        self._known: Memory[Key | None] = Memory(_MOST_KNOWN)
        self._any: Remembered[bool] | None = None
        self._noted: dict[str, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def identify(self, request: Request) -> Identity:
        """Return the identity of a request's sender. Raises KeyMissing, KeyInvalid, RateLimited, Unavailable."""
        given = [value for name, value in request.scope["headers"] if name == b"authorization"]
        if not await self.needs_keys(request):
            return LOCAL
        if not given:
            raise KeyMissing(_NO_KEY + ("" if await self._has_keys() else _FIRST_KEY))
        text = str(given[0], "latin-1")
        is_bearer = len(given) == 1 and text[: len(_BEARER)].lower() == _BEARER
        key = text[len(_BEARER) :].strip(" ") if is_bearer else ""
        if not is_token(key) and not self._is_familiar(key):
            self._failed.check(request)
        try:
            if not is_bearer:
                raise KeyInvalid("send one header Authorization, as in Authorization: Bearer KEY")
            if is_token(key):
                return await self._of_token(key)
            return await self._of_key(key)
        except KeyInvalid:
            self._failed.check(request)
            self._failed.note(request)
            raise

    async def identify_ticket(self, request: Request, text: str) -> Identity:
        """Return the identity that a ticket for the stream of the request's job stands for. Raises as `identify`."""
        self._failed.check(request)
        try:
            identity = self._tickets.open(text, request.path_params["job_id"])
            key = None if identity.key_id is None else await self._get(identity.key_id)
            if identity.key_id is not None and (key is None or key.ended(utc_now()) is not None):
                raise KeyInvalid("the key with which the ticket was made is not valid any more")
        except KeyInvalid:
            self._failed.note(request)
            raise
        return identity

    async def needs_keys(self, request: Request) -> bool:
        """Return whether requests like this one have to be sent with keys. Raises Unavailable."""
        return self._tokens is not None or self._needs_key(request) or await self._has_keys()

    @property
    def issuers(self) -> list[Issuer]:
        """The issuers at which people sign in by `ci login --oidc`."""
        return [] if self._tokens is None else self._tokens.for_people

    async def find(self, identity: Identity) -> Key | None:
        """Return the key that the identity's request was sent with, as it is stored now; None for one without."""
        return None if identity.key_id is None else await self._keys.get(identity.key_id)

    def while_accepted(self, request: Request, identity: Identity, end: End) -> Callable[[], None]:
        """Call `end` once the key of a request is not accepted any more; return what stops that.

        For what goes on after the request was let in. Requests without a key end by no key.
        """
        given = request.headers.get("authorization", "")
        if identity.key_id is None:
            return lambda: None
        return self._open.watch(identity.key_id, digest_of(given[len(_BEARER) :].strip(" ")), end)

    def forget(self, key_id: str) -> None:
        """Ask the database about a key at its next use, since it has just been changed."""
        self._known.forget(key_id)
        self._open.look()
        self._any = None

    def forget_memberships(self, owner: str) -> None:
        """Ask the database about the memberships of an owner at the next use, since one has just been changed."""
        self._memberships.forget(owner)

    async def close(self) -> None:
        """Wait for what is still being written, and end what issuers are asked."""
        await self._open.close()
        if self._tokens is not None:
            await self._tokens.close()
        await asyncio.gather(*self._notes, return_exceptions=True)

    def _needs_key(self, request: Request) -> bool:
        """Return whether the request needs a key even while there are none."""
        if self._mode == "insecure":
            return False
        return self._mode == "required" or not _is_from_here(request)

    async def _has_keys(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._any is None or not self._any.holds(now):
            self._any = Remembered(asyncio.ensure_future(self._keys.any()), now + KNOWN_SECONDS)
        has_keys = await self._any.result()
        if has_keys:
            self._any.until = float("inf")  # Rows of keys are never deleted.
        return has_keys

    async def _of_key(self, text: str) -> Identity:
        digest, key_id = digest_of(text), id_in(text)
        key = None if key_id is None else await self._get(key_id)
        now = utc_now()
        if key is None or not key.accepts(digest, now):
            raise KeyInvalid(_NOT_VALID)
        if (end := key.ended(now)) is not None:
            raise KeyInvalid(f"the key {key.name!r} {end}")
        self._note_use(key)
        return await self._with_memberships(key.identity())

    async def _of_token(self, text: str) -> Identity:
        if self._tokens is None:
            raise KeyInvalid(_NO_ISSUERS)
        return await self._with_memberships(await self._tokens.identify(text))

    async def _with_memberships(self, identity: Identity) -> Identity:
        if not identity.takes_memberships:
            return identity
        name = identity.name
        memberships = await self._memberships.get(name, lambda: self._projects.memberships_of(name), KNOWN_SECONDS)
        return identity.with_memberships(memberships)

    def _is_familiar(self, text: str) -> bool:
        """Return whether this was a key of the server when the database was last asked, however long ago."""
        key = self._known.latest(id_in(text) or "")
        return key is not None and key.accepts(digest_of(text), utc_now())

    async def _get(self, key_id: str) -> Key | None:
        return await self._known.get(key_id, lambda: self._keys.get(key_id), KNOWN_SECONDS)

    def _note_use(self, key: Key) -> None:
        """Have the use of a key written down, which the request does not wait for."""
        now = asyncio.get_running_loop().time()
        if now - self._noted.get(key.id, float("-inf")) < _NOTED_SECONDS:
            return
        self._noted[key.id] = now
        note = asyncio.create_task(self._write_use(key.id), name="use of a key")
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def _write_use(self, key_id: str) -> None:
        try:
            await self._keys.note_use(key_id, utc_now())
        except Unavailable as exc:
            logger.warning("the use of key %s is not noted: %s", key_id, exc)


def _is_from_here(request: Request) -> bool:
    """Return whether the request came to a loopback address or a Unix socket, which only this machine reaches.

    One that a proxy has passed on is from here if its first sender is.
    """
    if FORWARDED in request.scope:
        client = request.scope.get("client")
        return client is not None and is_loopback(canonical_host(client[0]) or "")
    server = request.scope.get("server")
    return server is None or server[1] is None or is_loopback(canonical_host(server[0]) or "")
