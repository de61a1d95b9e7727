"""What the audit gets to know of requests: of each one that changes something, and of those that are refused.

Refusals are counted, and written once a minute: one entry for each sender, address and reason, and at most MOST_ROWS
of them, besides one for all others. So requests that are refused cannot fill the disk, however many they are.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from starlette.requests import Request

from ci_common.access.identity import ANYONE, Identity
from ci_common.access.keys import id_in
from ci_common.errors import RequestError, Unavailable
from ci_common.sharing.audit import Entry, Mark, Outcome, Verified, recordable
from ci_common.times import to_micros, utc_now
from ci_persistence.stores.audit import AuditStore
from ci_server.access.rates import address_of
from ci_server.access.remembering import Memory
from ci_server.http.exchange import path_of

MINUTE: Final = 60.0
"""How long refusals are counted before they are written."""
MOST_ROWS: Final = 20
"""How many refusals of different senders, addresses and reasons are told apart in that time."""
_REFUSALS: Final = frozenset({401, 403, 421, 429})
SIGN_IN: Final = "sign_in_by_token"
"""The action of the first request with a token."""
_MOST_TOKENS: Final = 10_000
_NO_ADDRESS: Final = "-"
_UNKNOWN: Final = "unknown"
"""Who sends a request without a valid key."""
_OTHERS: Final = ("others", None, "several", "several")

logger = logging.getLogger(__name__)

_Sender = tuple[str, str | None, str, str]
"""Whose refusals are counted together: name, id of the key, network, and why."""


@dataclass(slots=True)
class RequestNote:
    """What is known of a request that changes something. Its handler adds what the path does not say."""

    request: Request
    action: str
    sender: Identity
    """Who has sent it, as it was when it was let in until the handler knows better."""
    time: int
    target: str = ""
    """What it is about, as a path; by default its own."""
    project: str | None = None
    is_written: bool = False
    """Whether the entry is durable, with the change that it is about."""

    def entry(self) -> Entry:
        """Return the entry as it is known now."""
        return _entry(
            self.request,
            self.sender.name,
            self.sender.key_id,
            self.action,
            Outcome.DONE,
            time=self.time,
            target=self.target,
            project=self.project,
        )


class Audit:
    """The audit of one server process. For one event loop."""

    def __init__(self, store: AuditStore, clock: Callable[[], datetime] = utc_now, minute: float = MINUTE) -> None:
        self._store = store
        self._clock = clock
        self._minute = minute
        self._refused: dict[_Sender, Entry] = {}
        self._writing: asyncio.Task[None] | None = None
        self._verifying = asyncio.Lock()
        self._tokens: Memory[None] = Memory(_MOST_TOKENS)
        """The tokens that have their entries."""

    def note(self, request: Request, sender: Identity, action: str) -> RequestNote:
        """Return the note of a request that is about to change something."""
        return RequestNote(request, action, sender, to_micros(self._clock()))

    async def finish(self, note: RequestNote) -> None:
        """Write the entry of a request that was carried out, unless it was written with its change."""
        if not note.is_written:
            await self._store.add([note.entry()])
            note.is_written = True

    async def note_token(self, request: Request, digest: str, sender: Identity) -> None:
        """Write that `sender` is let in with a token of an issuer, once for each token. Raises Unavailable.

        `digest` is that of the token.
        """
        now = self._clock()
        seconds = max(MINUTE, (sender.expires - now).total_seconds()) if sender.expires is not None else MINUTE
        entry = _entry(request, sender.name, None, SIGN_IN, Outcome.DONE, time=to_micros(now))
        await self._tokens.get(digest, lambda: self._store.add([entry]), seconds)

    def refuse(self, request: Request, sender: Identity | None, action: str, error: RequestError) -> None:
        """Count a refusal of a request. `sender` is None where it is not known."""
        if error.status not in _REFUSALS and not error.is_hidden:
            return
        if sender is None or sender is ANYONE:
            name, key_id = _UNKNOWN, _key_in(request)
        else:
            name, key_id = sender.name, sender.key_id
        time = to_micros(self._clock())
        entry = _entry(request, name, key_id, action, Outcome.REFUSED, time=time, reason=error.code)
        whose = (entry.actor, key_id, address_of(request), error.code)
        if whose not in self._refused and len(self._refused) >= MOST_ROWS:
            whose = _OTHERS
            entry = replace(entry, actor="others", key_id=None, address=_OTHERS[2], reason=_OTHERS[3])
        before = self._refused.get(whose)
        self._refused[whose] = entry if before is None else replace(before, count=before.count + 1)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_later(), name="refusals for the audit")

    async def flush(self) -> None:
        """Write the refusals that are counted. Raises Unavailable; then they stay counted."""
        refused, self._refused = self._refused, {}
        try:
            await self._store.add(list(refused.values()))
        except BaseException:
            for whose, entry in refused.items():
                since = self._refused.get(whose)
                self._refused[whose] = entry if since is None else replace(entry, count=entry.count + since.count)
            raise

    async def verify(self, noted: Mark | None) -> Verified:
        """Walk along the whole chain, one request after the other. Raises Unavailable."""
        async with self._verifying:
            return await self._store.verify(noted)

    async def close(self) -> None:
        """Write what is counted, and stop."""
        if self._writing is not None:
            self._writing.cancel()
            with suppress(asyncio.CancelledError):
                await self._writing
        try:
            await self.flush()
        except Unavailable as exc:
            logger.error("%d refusals are not in the audit: %s", sum(e.count for e in self._refused.values()), exc)

    async def _write_later(self) -> None:
        while self._refused:
            await asyncio.sleep(self._minute)
            try:
                await self.flush()
            except Unavailable as exc:
                logger.warning("refusals are not in the audit yet: %s", exc)
        self._writing = None


def _entry(
    request: Request,
    actor: str,
    key_id: str | None,
    action: str,
    outcome: Outcome,
    *,
    time: int,
    target: str = "",
    project: str | None = None,
    reason: str | None = None,
) -> Entry:
    """Return the entry of a request; `target` is by default its own path."""
    path = path_of(request.scope)
    return Entry(
        time=time,
        action=action,
        actor=recordable(actor),
        key_id=key_id,
        address=recordable(_NO_ADDRESS if request.client is None else request.client.host),
        request=recordable(f"{request.method} {path}"),
        target=recordable(target or path),
        project=None if project is None else recordable(project),
        outcome=outcome,
        reason=reason,
    )


def _key_in(request: Request) -> str | None:
    """Return the id of the key that a request has, valid or not."""
    return id_in(request.headers.get("authorization", "").partition(" ")[2].strip(" "))
