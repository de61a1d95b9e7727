"""One leader per database: wait for the lease, lead, renew, step down.

Stepping down cancels everything the leader did; that touches no job, since cancellation means leaving.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ci_common.errors import CiError, StaleWrite
from ci_common.processes import ProcessIdentity
from ci_common.times import Clock
from ci_persistence.repository import LeaderLease, Lease

log = logging.getLogger(__name__)


Term = Callable[[Lease], Awaitable[None]]
"""What a leader does until it is cancelled."""


async def lead_forever(
    leases: LeaderLease, holder: ProcessIdentity, *, seconds: float, clock: Clock, term: Term
) -> None:
    """Run `term` whenever this holder leads, until cancelled; the lease is released on the way out.

    `seconds` is how long the lease lasts without being renewed. An exception of `term` is raised from here.
    """
    while True:
        lease = await _acquire(leases, holder, seconds, clock)
        log.info("this controller leads (term %d)", lease.fence)
        try:
            await _one_term(leases, lease, seconds, clock, term)
        finally:
            await asyncio.shield(_release(leases, lease))
        log.warning("the leadership is lost")


async def _acquire(leases: LeaderLease, holder: ProcessIdentity, seconds: float, clock: Clock) -> Lease:
    obstacle = ""
    while True:
        try:
            lease = await leases.acquire(holder, seconds, clock())
            now = "another controller leads; this one stands by"
        except CiError as exc:
            lease, now = None, f"the lease could not be asked for: {exc}"
        if lease is not None:
            return lease
        if now != obstacle:
            log.info(now)
            obstacle = now
        await asyncio.sleep(min(1.0, seconds / 5))


async def _one_term(leases: LeaderLease, lease: Lease, seconds: float, clock: Clock, term: Term) -> None:
    """Return once the lease is lost."""
    work = asyncio.ensure_future(term(lease))
    renewal = asyncio.create_task(_renew(leases, lease, seconds, clock), name="lease renewal")
    try:
        await asyncio.wait({work, renewal}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        work.cancel()
        renewal.cancel()
        await asyncio.gather(work, renewal, return_exceptions=True)


async def _renew(leases: LeaderLease, lease: Lease, seconds: float, clock: Clock) -> None:
    """Return once the lease is lost, or could not be renewed for as long as it lasts."""
    loop = asyncio.get_running_loop()
    renewed = loop.time()
    while loop.time() - renewed < seconds:
        await asyncio.sleep(seconds / 4)
        try:
            await leases.renew(lease, seconds, clock())
            renewed = loop.time()
        except StaleWrite:
            return
        except CiError as exc:
            log.warning("the lease could not be renewed: %s", exc)


async def _release(leases: LeaderLease, lease: Lease) -> None:
    try:
        await leases.release(lease)
    except CiError as exc:
        log.warning("the lease could not be released; it runs out by itself: %s", exc)
