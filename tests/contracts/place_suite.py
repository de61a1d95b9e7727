"""What every `Storage` promises about the places that streams and uploads take: exact, whatever dies."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from ci_common.quotas import Quota, QuotaExceeded
from ci_common.settings import Settings
from ci_common.system.processes import ProcessIdentity
from ci_common.times import uptime
from ci_persistence.storage import Storage
from ci_persistence.stores.access.places import Server
from ci_server.access.places import Place as Taken
from ci_server.access.places import Places
from ci_server.access.projects import Projects
from tests.contracts.storage_place import Base, Place, said
from tests.helpers.jobs import SetUptime
from tests.helpers.waiting import eventually

CLIENTS = 64
MOST = 10
SETTINGS = Settings.model_validate(
    {
        "quota_streams": f"unlimited,website={MOST}",
        "quota_owner_streams": f"unlimited,alice={MOST}",
        "lease_seconds": 4.0,
    }
)
ELSEWHERE = ProcessIdentity(1, "1", "another machine")

OTHER = """
from ci_common.quotas import Quota
from tests.contracts.place_suite import places_of
async with places_of(storage) as places:
    for _ in range(10):
        await places.take(Quota.STREAMS, "website", "bob")
    say("taken")
    heard()
"""


@asynccontextmanager
async def places_of(storage: Storage, clock: Callable[[], float] = uptime) -> AsyncIterator[Places]:
    """Yield the places of a server process."""
    projects = Projects(SETTINGS, storage.projects)
    places = Places(SETTINGS, projects, storage.places, clock)
    running = asyncio.create_task(places.run())
    try:
        yield places
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await places.close()


async def tried(places: Places, project: str | None = "website", owner: str = "bob") -> Taken | QuotaExceeded:
    try:
        return await places.take(Quota.STREAMS, project, owner)
    except QuotaExceeded as exc:
        return exc


async def used(storage: Storage, kind: str = "project", name: str = "website") -> int:
    return (await storage.quotas.used(kind, name))[Quota.STREAMS]  # type: ignore[arg-type]  # as the parameter is


async def all_free(storage: Storage, kind: str, name: str) -> None:
    async def free() -> bool:
        return await used(storage, kind, name) == 0

    await eventually(free, "all places are free")


class PlaceSuite(Base):
    @pytest.mark.parametrize("owner", ["bob", "alice"])
    async def test_of_64_clients_exactly_as_many_get_a_place_as_there_are(self, place: Place, owner: str) -> None:
        """Half of them use another server process, in three rounds. The quota is the project's or the owner's."""
        project = "website" if owner == "bob" else None
        async with AsyncExitStack() as stack:
            storages = [place.storage(), place.storage()]
            for storage in storages:
                await storage.open()
                stack.push_async_callback(storage.close)
            servers = [await stack.enter_async_context(places_of(storage)) for storage in storages]
            for _ in range(3):
                done = await asyncio.gather(*(tried(servers[n % 2], project, owner) for n in range(CLIENTS)))
                taken = [each for each in done if isinstance(each, Taken)]
                refused = [each for each in done if isinstance(each, QuotaExceeded)]
                assert (len(taken), len(refused)) == (MOST, CLIENTS - MOST)
                assert all(each.figures["used"] == MOST for each in refused)
                kind, name = ("project", "website") if project else ("owner", owner)
                assert await used(storages[0], kind, name) == MOST
                for each in taken:
                    each.leave()
                    each.leave()
                await all_free(storages[1], kind, name)

    async def test_the_places_of_a_killed_process_are_free_at_once(self, place: Place, storage: Storage) -> None:
        async with place.process(OTHER) as other, places_of(storage) as places:
            assert await said(other) == "taken"
            refused = await tried(places)
            assert isinstance(refused, QuotaExceeded)
            assert refused.figures == {"quota": "streams", "quota_of": "project", "limit": MOST, "used": MOST}
            other.kill()
            await other.wait()
            assert isinstance(await tried(places), Taken)
            assert await used(storage) == 1

    async def test_a_process_that_cannot_be_seen_loses_its_places_once_it_does_not_renew_them(
        self, storage: Storage
    ) -> None:
        clock, other = SetUptime(0.0), Server("other", ELSEWHERE, 4.0)
        holder = (Quota.STREAMS, "project", "website")
        await storage.places.renew(other, {holder: MOST}, {})
        async with places_of(storage, clock) as places:
            assert isinstance(await tried(places), QuotaExceeded)
            clock.seconds = 3.9
            await storage.places.renew(other, {holder: MOST}, {})
            assert isinstance(await tried(places), QuotaExceeded)
            clock.seconds = 7.8
            assert isinstance(await tried(places), QuotaExceeded)
            clock.seconds = 8.0
            assert isinstance(await tried(places), Taken)
            # It was only asleep: it has its places again, all of them, and no more are given away.
            await storage.places.renew(other, {holder: MOST}, {})
            assert await used(storage) == MOST + 1
            assert isinstance(await tried(places), QuotaExceeded)

    async def test_a_process_that_has_its_places_again_is_not_taken_for_dead_by_those_that_saw_it_before(
        self, storage: Storage
    ) -> None:
        clock, other = SetUptime(0.0), Server("other", ELSEWHERE, 4.0)
        holder = (Quota.STREAMS, "project", "website")
        await storage.places.renew(other, {holder: MOST}, {})
        async with places_of(storage, clock) as one, places_of(storage, clock) as another:
            for places in (one, another):
                assert isinstance(await tried(places), QuotaExceeded)
            clock.seconds = 4.0
            assert isinstance(await tried(one), Taken)
            await storage.places.renew(other, {holder: MOST}, {})
            assert isinstance(await tried(another), QuotaExceeded)

    async def test_places_that_nothing_limits_are_counted_with_the_next_renewal(self, storage: Storage) -> None:
        async with places_of(storage) as places:
            async with places.taken(Quota.UPLOADS, "other", "carol"):
                await eventually(lambda: uploads(storage), "it is counted")
            await eventually(lambda: is_empty(storage), "nothing is left")


async def uploads(storage: Storage) -> int:
    return (await storage.quotas.used("project", "other"))[Quota.UPLOADS]


async def is_empty(storage: Storage) -> bool:
    return not await storage.places.servers()
