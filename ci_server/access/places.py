"""The places that the streams and uploads of this process take from the quotas of projects and owners.

Where a quota limits them, a place is taken in the database before the stream or the upload begins. Where none does, it
is only counted here, and the database gets to know at the next renewal.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

from ci_common.errors import Unavailable
from ci_common.quotas import Kind, Quota, QuotaExceeded
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_common.times import Uptime, uptime
from ci_persistence.stores.access.places import Holder, PlaceStore, Server, ServerState
from ci_server.access.projects import Projects

_UNKNOWN: Final = -1
"""What the database has of a holder once the outcome of a write is not known."""
_RENEWALS: Final = 4
"""How often a process renews its row in the time for which its places outlive it."""

logger = logging.getLogger(__name__)


class Place:
    """What one stream or one upload takes from quotas."""

    __slots__ = ("_holders", "_is_limited", "_places")

    def __init__(self, places: "Places", holders: tuple[Holder, ...], *, is_limited: bool) -> None:
        self._places: Places | None = places
        self._holders = holders
        self._is_limited = is_limited

    def leave(self) -> None:
        """Give the place back. Does nothing the second time."""
        places, self._places = self._places, None
        if places is not None:
            places.give_back(self._holders, at_once=self._is_limited)


class Places:
    """The places of this process. For one event loop."""

    def __init__(self, settings: Settings, projects: Projects, store: PlaceStore, clock: Uptime = uptime) -> None:
        self._projects = projects
        self._store = store
        self._uptime = clock
        self._server = Server(uuid4().hex, this_process(), settings.lease_seconds)
        self._held: Counter[Holder] = Counter()
        self._written: dict[Holder, int] = {}
        """What the database has of this process."""
        self._is_known = False
        """Whether the database may have a row of this process."""
        self._writing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._seen: dict[str, tuple[ServerState, float]] = {}
        """The rows of other processes, and since when each has been as it is."""

    async def take(self, quota: Quota, project: str | None, owner: str | None) -> Place:
        """Return a place that counts for a project and an owner, as far as they are given.

        Raises QuotaExceeded, Unavailable.
        """
        whose: tuple[tuple[Kind, str | None], ...] = (("project", project), ("owner", owner))
        holders: tuple[Holder, ...] = tuple((quota, kind, name) for kind, name in whose if name is not None)
        found = await self._projects.ceilings(project, owner or "", (quota,))
        ceilings = [ceiling for ceiling in found if owner is not None or ceiling.kind == "project"]
        if not ceilings:
            self._held.update(holders)
            return Place(self, holders, is_limited=False)
        async with self._writing:
            changed = self._unwritten()
            # Should this task be cancelled, the place may have been counted.
            self._written.update(dict.fromkeys((*holders, *changed), _UNKNOWN))
            self._is_known = True
            asked = (self._server, holders, ceilings, self._numbers(), changed)
            try:
                await self._store.take(*asked)
            except QuotaExceeded:
                if not await self._forget_dead():
                    raise
                await self._store.take(*asked)
            self._written.update(changed)
            self._written.update((holder, asked[3].get(holder, 0) + 1) for holder in holders)
            self._held.update(holders)
        return Place(self, holders, is_limited=True)

    @asynccontextmanager
    async def taken(self, quota: Quota, project: str | None, owner: str | None) -> AsyncIterator[None]:
        """Have a place within the block. Raises QuotaExceeded, Unavailable."""
        place = await self.take(quota, project, owner)
        try:
            yield
        finally:
            place.leave()

    def give_back(self, holders: Iterable[Holder], *, at_once: bool) -> None:
        """Count a place as free, in the database at once or with the next renewal."""
        self._held.subtract(holders)
        self._held += Counter[Holder]()  # Without those that have none.
        if at_once:
            self._changed.set()

    async def run(self) -> None:
        """Keep the database informed until cancelled."""
        interval = self._server.seconds / _RENEWALS
        due = self._uptime()
        while True:
            try:
                async with asyncio.timeout(max(0.0, due - self._uptime())):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self._publish()
                if self._uptime() >= due:
                    due = self._uptime() + interval
                    await self._forget_dead()
            except Unavailable as exc:
                due = self._uptime() + interval
                logger.warning("the places of streams and uploads cannot be renewed: %s", exc)

    async def close(self) -> None:
        """Give back all places."""
        self._held.clear()
        try:
            await self._publish()
        except Unavailable as exc:
            logger.warning("the places of streams and uploads stay for %g s: %s", self._server.seconds, exc)

    async def _publish(self) -> None:
        async with self._writing:
            if self._held:
                changed = self._unwritten()
                self._written.update(dict.fromkeys(changed, _UNKNOWN))
                self._is_known = True
                await self._store.renew(self._server, self._numbers(), changed)
                self._written.update(changed)
                self._written = {holder: number for holder, number in self._written.items() if number}
            elif self._is_known:
                await self._store.leave(self._server)
                self._written, self._is_known = {}, False

    def _numbers(self) -> dict[Holder, int]:
        return dict(self._held)

    def _unwritten(self) -> dict[Holder, int]:
        """Return what of the numbers of this process the database does not have."""
        known = self._held.keys() | self._written.keys()
        return {holder: self._held[holder] for holder in known if self._held[holder] != self._written.get(holder, 0)}

    async def _forget_dead(self) -> bool:
        """Remove processes that are dead, or have not renewed their rows for too long. Return whether there was one."""
        others = [server for server in await self._store.servers() if server.id != self._server.id]
        # After they were read, so that no row is older here than it is.
        now, removed = self._uptime(), False
        seen = {server.id: server for server in others}
        self._seen = {
            name: self._seen[name] if name in self._seen and self._seen[name][0] == server else (server, now)
            for name, server in seen.items()
        }
        for server in others:
            if server.is_dead or now - self._seen[server.id][1] >= server.seconds:
                removed |= await self._store.remove(server)
        return removed
