"""From a request to the identity of its sender: by key, token or cookie, or without one while none are needed.

What the database says of a key is believed for KNOWN_SECONDS, so that a request costs no read of the database. After
that time at most, a key that is revoked elsewhere is not accepted any more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final, NamedTuple

from starlette.requests import Request

from ci_common.access.identity import LOCAL, Identity, Role
from ci_common.access.keys import Key, KeyKind, digest_of, id_in
from ci_common.errors import Unavailable
from ci_common.parsing.hosts import canonical_host
from ci_common.settings import Settings
from ci_common.times import utc_now
from ci_persistence.stores.access.keys import KeyStore
from ci_persistence.stores.access.projects import ProjectStore
from ci_server.access.browser_cookies import BrowserCookies
from ci_server.access.oidc.browsers import BrowserSignIn
from ci_server.access.oidc.configuration import Issuer
from ci_server.access.oidc.tokens import OidcTokens, is_token
from ci_server.access.open_keys import End, OpenKeys, end_at
from ci_server.access.rates import FailedKeys
from ci_server.access.remembering import Memory, Remembered
from ci_server.access.stream_tickets import StreamTickets
from ci_server.http.application import is_loopback
from ci_server.http.forwarding import FORWARDED
from ci_server.http.origins import check_own_page
from ci_server.http.refusals import KeyInvalid, KeyMissing, SessionEnded

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
_ONE_HEADER: Final = "send one header Authorization, as in Authorization: Bearer KEY"
_DIGEST: Final = "ci_server.digest_of_key"
"""In a scope: that of the key, or the session, that the request was sent with."""

_MOST_ADDRESSES: Final = 4096

logger = logging.getLogger(__name__)


class _Sent(NamedTuple):
    """A key, a session or a token as a request has it."""

    text: str
    digest: str
    key_id: str | None
    """None where the text has not the form of a key."""

    @classmethod
    def of(cls, text: str) -> "_Sent":
        return cls(text, digest_of(text), id_in(text))


class _Accepted(NamedTuple):
    """A key that a request was sent with, and the identity of who has it."""

    key: Key
    identity: Identity
    until: float
    """When the database has to be asked again, in the time of the event loop."""

    def holds(self, digest: str, now: float) -> bool:
        """Return whether the key is accepted with the secret of this digest, as far as the database was asked."""
        clock = utc_now()
        return now < self.until and self.key.ended(clock) is None and self.key.accepts(digest, clock)


class Authentication:
    """Knows the senders of requests. For one event loop."""

    def __init__(
        self,
        settings: Settings,
        keys: KeyStore,
        projects: ProjectStore,
        tickets: StreamTickets,
        cookies: BrowserCookies,
    ) -> None:
        """Raises SettingsError."""
        self._tickets = tickets
        self._cookies = cookies
        self._mode = settings.auth
        self._tokens = OidcTokens.of(settings)
        self.browsers: Final = None if self._tokens is None else BrowserSignIn(self._tokens)
        """What signs browsers in at issuers; None if there are none."""
        self._keys = keys
        self._projects = projects
        self._memberships: Memory[tuple[tuple[str, Role], ...]] = Memory(_MOST_KNOWN)
        self._failed = FailedKeys(settings)
        self._open = OpenKeys(keys)
        self._known: Memory[Key | None] = Memory(_MOST_KNOWN)
        self._accepted: dict[str, _Accepted] = {}
        """The keys that were accepted lately, by the digest of what was sent: most requests have one of these."""
        self._any: Remembered[bool] | None = None
        self._noted: dict[str, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def identify(self, request: Request) -> Identity:
        """Return the identity of a request's sender. A header `Authorization` wins over a cookie.

        Raises KeyMissing, KeyInvalid, SessionEnded, CrossSite, RateLimited, Unavailable.
        """
        sent = bearer_of(request)
        if sent and (accepted := self._accepted_by(request, digest_of(sent))) is not None:
            return await self._with_memberships(accepted) if accepted.takes_memberships else accepted
        if not await self.needs_keys(request):
            return LOCAL
        if sent is not None:
            return await self.identify_key(request, sent)
        session = self._cookies.read(request.scope)
        if session is None:
            raise KeyMissing(_NO_KEY + ("" if await self._has_keys() else _FIRST_KEY))
        check_own_page(request.scope)
        return await self._guarded(request, _Sent.of(session), self._of_session)

    async def identify_key(self, request: Request, text: str) -> Identity:
        """Return the identity of who has this key or token. Raises KeyInvalid, RateLimited, Unavailable."""
        return await self._guarded(request, _Sent.of(text), self._of_key_or_token)

    async def session_of(self, request: Request) -> Key | None:
        """Return the session whose cookie the request has, also one that has ended; None without one."""
        text = self._cookies.read(request.scope)
        return None if text is None else await self._found(_Sent.of(text), KeyKind.SESSION)

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
        """The issuers at which people sign in."""
        return [] if self._tokens is None else self._tokens.for_people

    async def find(self, identity: Identity) -> Key | None:
        """Return the key that the identity's request was sent with, as it is stored now; None for one without."""
        return None if identity.key_id is None else await self._keys.get(identity.key_id)

    def while_accepted(self, request: Request, identity: Identity) -> Callable[[End], Callable[[], None]]:
        """Return what calls its argument once the request would not be accepted any more, and returns what stops that.

        For what goes on after the request was let in. Requests without key and token do not end.
        """
        key_id, expires = identity.key_id, identity.expires
        if key_id is not None:
            digest = request.scope.get(_DIGEST)
            return lambda end: self._open.watch(key_id, digest, end)
        if expires is not None:
            return lambda end: end_at(expires, end)
        return lambda _: lambda: None

    def forget(self, key_id: str) -> None:
        """Ask the database about a key at its next use, since it has just been changed."""
        self._known.forget(key_id)
        self._accepted.clear()
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

    def _accepted_by(self, request: Request, digest: str) -> Identity | None:
        """Return who has the key with this digest, if it was accepted lately and still is."""
        accepted = self._accepted.get(digest)
        if accepted is None or not accepted.holds(digest, asyncio.get_running_loop().time()):
            return None
        request.scope[_DIGEST] = digest
        self._note_use(accepted.key)
        return accepted.identity

    async def _guarded(
        self, request: Request, sent: "_Sent", identify: Callable[["_Sent"], Awaitable[Identity]]
    ) -> Identity:
        """Return what `identify` makes of a text, unless too many wrong ones have come from the request's address."""
        if not is_token(sent.text) and not self._is_familiar(sent):
            self._failed.check(request)
        request.scope[_DIGEST] = sent.digest
        try:
            return await identify(sent)
        except KeyInvalid:
            self._failed.check(request)
            self._failed.note(request)
            raise

    async def _of_key_or_token(self, sent: "_Sent") -> Identity:
        if not sent.text:
            raise KeyInvalid(_ONE_HEADER)
        if is_token(sent.text):
            if self._tokens is None:
                raise KeyInvalid(_NO_ISSUERS)
            return await self._with_memberships(await self._tokens.identify(sent.text))
        key = await self._found(sent, KeyKind.KEY)
        if key is None:
            raise KeyInvalid(_NOT_VALID)
        if (end := key.ended(utc_now())) is not None:
            raise KeyInvalid(f"the key {key.name!r} {end}")
        self._note_use(key)
        accepted = _Accepted(key, key.identity(), self._known.until(key.id))
        if len(self._accepted) >= _MOST_KNOWN:
            self._accepted.clear()
        self._accepted[sent.digest] = accepted
        return await self._with_memberships(accepted.identity)

    async def _of_session(self, sent: "_Sent") -> Identity:
        session = await self._found(sent, KeyKind.SESSION)
        if session is None:
            raise SessionEnded("the browser's session is not known any more; sign in again")
        if (end := session.ended(utc_now())) is not None:
            raise SessionEnded(f"the browser's session {end}; sign in again")
        self._note_use(session)
        return await self._with_memberships(session.identity())

    async def _found(self, sent: "_Sent", kind: KeyKind) -> Key | None:
        """Return the key of this kind that was sent, also one that has ended."""
        key = None if sent.key_id is None else await self._get(sent.key_id)
        return key if key is not None and key.kind is kind and key.accepts(sent.digest, utc_now()) else None

    async def _with_memberships(self, identity: Identity) -> Identity:
        if not identity.takes_memberships:
            return identity
        name = identity.name
        memberships = await self._memberships.get(name, lambda: self._projects.memberships_of(name), KNOWN_SECONDS)
        return identity.with_memberships(memberships)

    def _is_familiar(self, sent: "_Sent") -> bool:
        """Return whether this was a key of the server when the database was last asked, however long ago."""
        key = None if sent.key_id is None else self._known.latest(sent.key_id)
        return key is not None and key.accepts(sent.digest, utc_now())

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


def token_of(request: Request, sender: Identity) -> str | None:
    """Return the digest of the issuer's token that the request was sent with by `sender`; None if it has none."""
    is_token = sender.key_id is None and sender.expires is not None
    digest: str | None = request.scope.get(_DIGEST) if is_token else None
    return digest


def bearer_of(request: Request) -> str | None:
    """Return what a request's header `Authorization` has as key or token: empty if that is not one; None without it."""
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if not given:
        return None
    text = str(given[0], "latin-1")
    is_bearer = len(given) == 1 and text[: len(_BEARER)].lower() == _BEARER
    return text[len(_BEARER) :].strip(" ") if is_bearer else ""


def _is_from_here(request: Request) -> bool:
    """Return whether the request came to a loopback address or a Unix socket, which only this machine reaches.

    One that a proxy has passed on is from here if its first sender is.
    """
    if FORWARDED in request.scope:
        client = request.scope.get("client")
        return client is not None and _is_here(client[0])
    server = request.scope.get("server")
    return server is None or server[1] is None or _is_here(server[0])


@lru_cache(_MOST_ADDRESSES)
def _is_here(host: str) -> bool:
    return is_loopback(canonical_host(host) or "")
