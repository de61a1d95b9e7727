"""One leader per database: wait for the lease, lead, renew, step down.

Stepping down cancels everything the leader did; that touches no job, since cancellation means leaving. Time is measured
by the machine's uptime, and never by the clock, which can be set.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from ci_common.errors import CiError, LeadershipLost, StaleWrite
from ci_common.system.processes import ProcessIdentity
from ci_common.times import Uptime
from ci_persistence.stores.leases import Lease, LeaseState, LeaseStore

log = logging.getLogger(__name__)


class Leadership:
    """One term: its lease, and whether that is certainly still held.

    A lease counts from before it was asked for. So a leader that was stopped, or slept with its machine, knows on
    waking that another one may lead, before it has asked the database.
    """

    def __init__(self, lease: Lease, *, seconds: float, asked: float, uptime: Uptime) -> None:
        """`asked` is the uptime just before the lease was asked for, `seconds` how long it lasts."""
        self.lease = lease
        self.ended = asyncio.Event()
        self._seconds = seconds
        self._until = asked + seconds
        self._uptime = uptime

    def check(self) -> None:
        """Raise LeadershipLost, and end the term, unless the lease is certainly still held.

        To be called right before everything that changes a workload or a run directory.
        """
        if self._uptime() >= self._until:
            self.ended.set()
        if self.ended.is_set():
            raise LeadershipLost(f"leadership number {self.lease.fence} is over, or may be")

    def extend(self, asked: float) -> None:
        """Note a renewal that was asked for at this uptime. A term that has ended stays so."""
        self._until = asked + self._seconds


Term = Callable[[Leadership], Awaitable[None]]
"""What a leader does until it is cancelled."""
Acquire = Callable[[LeaseState | None], Awaitable[Lease | None]]
"""Asks for the lease, given one that has expired."""


async def lead_forever(
    leases: LeaseStore, holder: ProcessIdentity, *, seconds: float, slots: int, uptime: Uptime, term: Term
) -> None:
    """Run `term` whenever this holder leads, until cancelled; the lease is released on the way out.

    `seconds` is how long the lease lasts without being renewed, `slots` how many jobs run at a time. An exception of
    `term` is raised from here.
    """
    unreleased: Lease | None = None
    while True:
        leadership = await _stand_by(
            leases, partial(leases.acquire, holder, seconds, slots=slots), seconds, uptime, unreleased
        )
        log.info("this controller leads (term %d)", leadership.lease.fence)
        try:
            await _one_term(leases, leadership, seconds, uptime, term)
        finally:
            released = await asyncio.shield(_release(leases, leadership.lease))
        unreleased = None if released else leadership.lease
        log.warning("the leadership is lost, or may be; this controller stands by")


async def _stand_by(
    leases: LeaseStore, acquire: Acquire, seconds: float, uptime: Uptime, unreleased: Lease | None
) -> Leadership:
    """Return once `acquire` gives a lease. `unreleased` is its own former lease, which is not waited for."""
    watch = LeaseWatch(uptime)
    obstacle = ""
    while True:
        try:
            if unreleased is not None:
                await leases.release(unreleased)
                unreleased = None
            lapsed = watch.lapsed(await leases.state())
            asked = uptime()
            lease = await acquire(lapsed)
            now = "another controller leads; this one stands by"
        except CiError as exc:
            lease, now = None, f"the lease could not be asked for: {exc}"
        if lease is not None:
            return Leadership(lease, seconds=seconds, asked=asked, uptime=uptime)
        if now != obstacle:
            log.info(now)
            obstacle = now
        await asyncio.sleep(min(1.0, seconds / 5))


class LeaseWatch:
    """Watches another one's lease, to tell when it has run out."""

    def __init__(self, uptime: Uptime) -> None:
        self._uptime = uptime
        self._held: LeaseState | None = None
        self._since = 0.0

    def lapsed(self, held: LeaseState | None) -> LeaseState | None:
        """Take the lease as it now is; return it if it has not changed for as long as it lasts."""
        if held != self._held:
            self._held, self._since = held, self._uptime()
        return held if held is not None and self._uptime() - self._since >= held.seconds else None


async def _one_term(leases: LeaseStore, leadership: Leadership, seconds: float, uptime: Uptime, term: Term) -> None:
    """Return once the lease is lost, or may be."""
    work = asyncio.ensure_future(term(leadership))
    renewal = asyncio.create_task(_renew(leases, leadership, seconds, uptime), name="lease renewal")
    ended = asyncio.create_task(leadership.ended.wait(), name="end of the leadership")
    try:
        await asyncio.wait({work, renewal, ended}, return_when=asyncio.FIRST_COMPLETED)
        if renewal.done():
            leadership.ended.set()
        if work.done() and not leadership.ended.is_set():
            work.result()
    finally:
        for task in (work, renewal, ended):
            task.cancel()
        await asyncio.gather(work, renewal, ended, return_exceptions=True)
        leadership.ended.set()  # Should a thread of the work's still be about, it changes nothing any more.


async def _renew(leases: LeaseStore, leadership: Leadership, seconds: float, uptime: Uptime) -> None:
    """Return once the lease is lost, or could not be renewed for as long as it lasts."""
    while True:
        await asyncio.sleep(seconds / 4)
        asked = uptime()
        try:
            await leases.renew(leadership.lease, seconds)
            leadership.extend(asked)
        except StaleWrite:
            return
        except CiError as exc:
            log.warning("the lease could not be renewed: %s", exc)
        try:
            leadership.check()
        except LeadershipLost:
            return


async def _release(leases: LeaseStore, lease: Lease) -> bool:
    """Return whether the lease is surely not held any more."""
    try:
        await leases.release(lease)
    except CiError as exc:
        log.warning("the lease could not be released; it runs out by itself: %s", exc)
        return False
    return True
