"""Ends what goes on for long, such as a stream, once what it was begun with is not accepted any more.

While there are such streams, the database is asked about their keys every WATCH_SECONDS, with one read for all, so
that a key that another process revokes ends them everywhere within two seconds.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

from ci_common.access.keys import Key, KeyKind
from ci_common.errors import CiError
from ci_common.times import utc_now
from ci_persistence.stores.access.keys import KeyStore

WATCH_SECONDS: Final = 1.0
_REPLACED: Final = "has been replaced by `ci keys rotate`"
_WHAT_TO_DO: Final = "send another key: give it to `ci login`, or name it in CI_TOKEN"
_SIGN_IN: Final = "sign in again"
_EXPIRED: Final = "the token has expired; get a new one from its issuer"

logger = logging.getLogger(__name__)
End = Callable[[str], None]
"""Ends a stream; is told why, and what to do."""


class OpenKeys:
    """The keys with which something goes on. For one event loop."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._watched: dict[int, tuple[str, str | None, End]] = {}
        """The ids of keys, the digests of what was sent, if it was the key itself, and what to call."""
        self._count = 0
        self._watching: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def watch(self, key_id: str, digest: str | None, end: End) -> Callable[[], None]:
        """Call `end` once if the key with this secret ends; return what has to be called when that matters no more.

        Without a digest, any secret of the key counts.
        """
        self._count += 1
        number = self._count
        self._watched[number] = key_id, digest, end
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="keys of open streams")
        return lambda: self._leave(number)

    def look(self) -> None:
        """Ask the database at once: a key has just been changed."""
        self._changed.set()

    async def close(self) -> None:
        """End nothing any more."""
        self._watched.clear()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    def _leave(self, number: int) -> None:
        self._watched.pop(number, None)

    async def _watch(self) -> None:
        while self._watched:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            watched = tuple(self._watched.items())  # What is added while the database is asked is not in its answer.
            try:
                known = await self._keys.get_many({key_id for _, (key_id, _, _) in watched})
            except (CiError, OSError) as exc:
                logger.warning("whether the keys of open streams still hold is not known: %s", exc)
                continue
            for number, (key_id, digest, end) in watched:
                why = _why_ended(known.get(key_id), digest)
                if why is not None and self._watched.pop(number, None) is not None:
                    end(why)


def end_at(time: datetime, end: End) -> Callable[[], None]:
    """Call `end` once the token expires; return what has to be called when that matters no more."""
    seconds = max(0.0, (time - utc_now()).total_seconds())
    return asyncio.get_running_loop().call_later(seconds, end, _EXPIRED).cancel


def _why_ended(key: Key | None, digest: str | None) -> str | None:
    now = utc_now()
    if key is None:
        return f"the key of this stream is not here any more; {_WHAT_TO_DO}"
    ended = key.ended(now) or (None if digest is None or key.accepts(digest, now) else _REPLACED)
    if ended is None:
        return None
    if key.kind is KeyKind.SESSION:
        return f"the browser's session {ended}; {_SIGN_IN}"
    return f"the key {key.name!r} {ended}; {_WHAT_TO_DO}"
