"""Who leads, by an uptime that the test sets: no clock has a say in it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from ci_common.errors import LeadershipLost, Unavailable
from ci_common.system.processes import ProcessIdentity, this_process
from ci_controller.leadership import Leadership, lead_forever
from ci_persistence.open import sqlite_storage
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease, LeaseState, LeaseStore
from tests.helpers.jobs import SetUptime
from tests.helpers.waiting import eventually

ELSEWHERE = ProcessIdentity(1, "1", "another machine")
SECONDS = 0.4
SLOTS = 3
"""How long leases last here; waits between their renewals pass by the real clock."""


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    storage = sqlite_storage(tmp_path / "jobs.db")
    await storage.open()
    yield storage
    await storage.close()


class Leader:
    """A controller's leadership, told of term by term."""

    def __init__(self, leases: LeaseStore, uptime: Callable[[], float]) -> None:
        self.terms: list[Leadership] = []
        self.left = 0
        self.present: Leadership | None = None
        self._task = asyncio.create_task(
            lead_forever(leases, this_process(), seconds=SECONDS, slots=SLOTS, uptime=uptime, term=self._lead)
        )

    async def _lead(self, leadership: Leadership) -> None:
        self.terms.append(leadership)
        self.present = leadership
        try:
            await asyncio.Event().wait()
        finally:
            self.present = None
            self.left += 1

    async def leads(self) -> Leadership:
        return await eventually(lambda: self.present, "it leads")

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def leader(storage: Storage) -> AsyncIterator[Callable[..., Leader]]:
    made: list[Leader] = []

    def make(uptime: SetUptime, leases: LeaseStore = storage.leases) -> Leader:
        made.append(Leader(leases, uptime))
        return made[-1]

    yield make
    for one in made:
        await one.close()


class Relayed:
    """A lease whose renewals a test holds up or lets fail; everything else is passed on."""

    def __init__(self, storage: Storage) -> None:
        self._leases = storage.leases
        self.before_renewal: Callable[[], Awaitable[None]] | None = None
        self.after_renewal: Callable[[], None] | None = None
        self.locked = False
        self.releases = 0
        self.looks = 0

    async def looked_at(self) -> None:
        """Return once a look that began after this call has ended."""
        wanted = self.looks + 2
        await eventually(lambda: self.looks >= wanted, "a controller waits for the lease")

    async def state(self) -> LeaseState | None:
        self.looks += 1
        return await self._leases.state()

    async def acquire(
        self, holder: ProcessIdentity, seconds: float, expired: LeaseState | None = None, *, slots: int | None = None
    ) -> Lease | None:
        self._check()
        return await self._leases.acquire(holder, seconds, expired, slots=slots)

    async def renew(self, lease: Lease, seconds: float) -> None:
        self._check()
        if self.before_renewal is not None:
            await self.before_renewal()
        await self._leases.renew(lease, seconds)
        if self.after_renewal is not None:
            self.after_renewal()

    async def release(self, lease: Lease) -> None:
        self.releases += 1
        self._check()
        await self._leases.release(lease)

    def _check(self) -> None:
        if self.locked:
            raise Unavailable("the database is locked")


async def test_a_leader_that_was_stopped_for_longer_than_its_lease_knows_at_once(
    storage: Storage, leader: Callable[..., Leader]
) -> None:
    uptime = SetUptime()
    first = leader(uptime)
    leadership = await first.leads()
    leadership.check()
    uptime.seconds += SECONDS
    with pytest.raises(LeadershipLost):
        leadership.check()
    await eventually(lambda: first.left == 1, "its term has ended")
    again = await first.leads()
    assert again.lease.fence > leadership.lease.fence
    again.check()
    with pytest.raises(LeadershipLost):
        leadership.check()


async def test_a_leader_says_how_many_jobs_run_at_a_time(storage: Storage, leader: Callable[..., Leader]) -> None:
    await leader(SetUptime()).leads()
    assert await storage.leases.slots() == SLOTS


async def test_a_lease_counts_from_before_it_was_asked_for(storage: Storage, leader: Callable[..., Leader]) -> None:
    """The waiting controller counts from when the renewal was seen, which is later: there are never two leaders."""
    uptime, leases = SetUptime(), Relayed(storage)

    def answer_is_slow() -> None:
        uptime.seconds += SECONDS * 0.9

    leases.after_renewal = answer_is_slow
    leadership = await leader(uptime, leases).leads()
    start = uptime.seconds
    await eventually(lambda: uptime.seconds > start, "it has renewed")
    leases.after_renewal = None
    uptime.seconds = start + SECONDS
    with pytest.raises(LeadershipLost):
        leadership.check()


async def test_a_lease_that_is_not_renewed_runs_out_by_the_uptime_of_whoever_waits(
    storage: Storage, leader: Callable[..., Leader]
) -> None:
    lease = await storage.leases.acquire(ELSEWHERE, 100)
    assert lease is not None
    uptime, leases = SetUptime(), Relayed(storage)
    standby = leader(uptime, leases)
    await leases.looked_at()
    uptime.seconds += 99
    await leases.looked_at()
    assert standby.present is None
    await storage.leases.renew(lease, 100)
    await leases.looked_at()
    uptime.seconds += 99
    await leases.looked_at()
    assert standby.present is None, "it has been renewed since"
    uptime.seconds += 1
    assert (await standby.leads()).lease.fence == lease.fence + 1


async def test_a_leader_that_could_neither_renew_nor_release_leads_again_as_soon_as_it_can(
    storage: Storage, leader: Callable[..., Leader]
) -> None:
    """A controller does not wait for its own lease, which would be for as long as it lasts."""
    uptime, leases = SetUptime(), Relayed(storage)
    first = leader(uptime, leases)
    await first.leads()
    leases.locked = True
    uptime.seconds += SECONDS
    await eventually(lambda: leases.releases > 1, "it has tried to give back its lease, again and again")
    assert first.present is None
    assert await storage.leases.state() is not None
    leases.locked = False
    await first.leads()


async def test_of_two_the_standby_takes_over_from_a_leader_whose_renewals_hang(
    storage: Storage, leader: Callable[..., Leader]
) -> None:
    uptime, leases = SetUptime(), Relayed(storage)
    hanging = asyncio.Event()

    async def hang() -> None:
        hanging.set()
        await asyncio.Event().wait()

    leases.before_renewal = hang
    first = await leader(uptime, leases).leads()
    looking = Relayed(storage)
    second = leader(uptime, looking)
    await hanging.wait()
    await looking.looked_at()
    uptime.seconds += 2 * SECONDS
    present = await second.leads()
    assert present.lease.fence > first.lease.fence
    present.check()
    with pytest.raises(LeadershipLost):
        first.check()
