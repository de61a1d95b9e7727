"""What every `Storage` promises about caches."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ci_common.spec_parts.caches import StoredCache
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.storage_place import Base

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SCOPE, PATH = "0" * 32, "~/.cache/pip"
KEPT = StoredCache(
    id="01890000-0000-7000-8000-000000000001",
    scope=SCOPE,
    owner="local",
    project="p",
    path=PATH,
    key="pip-1",
    job_id="01890000-0000-7000-8000-000000000000",
    created_time=T0,
    last_used_time=T0,
    size=2**40,
    files=3,
)
NEWER = replace(
    KEPT,
    id="01890000-0000-7000-8000-000000000002",
    project=None,
    key="pip-2",
    created_time=T0 + timedelta(seconds=1),
    last_used_time=T0 + timedelta(seconds=1),
)


class CacheSuite(Base):
    async def test_keeps_caches(self, storage: Storage, lease: Lease) -> None:
        assert await storage.caches.get(KEPT.id) is None
        await storage.caches.keep(KEPT, lease)
        await storage.caches.keep(NEWER, lease)
        assert await storage.caches.get(KEPT.id) == KEPT
        assert await storage.caches.list(limit=10) == [NEWER, KEPT]
        assert await storage.caches.list(limit=1) == [NEWER]

    async def test_the_key_comes_first_and_then_the_newest_with_a_prefix(self, storage: Storage, lease: Lease) -> None:
        for cache in (KEPT, NEWER, replace(KEPT, id="x", path="other"), replace(NEWER, id="y", scope="other")):
            await storage.caches.keep(cache, lease)

        async def found(key: str, *prefixes: str) -> list[StoredCache]:
            return await storage.caches.candidates(SCOPE, PATH, key, prefixes)

        assert await found("pip-1") == [KEPT]
        assert await found("pip-1", "pip-") == [KEPT, NEWER]
        assert await found("pip-", "pip-") == [NEWER, KEPT]
        assert await found("pip-3", "pip-2", "pip-") == [NEWER, KEPT]
        assert await found("pip-") == [], "a key is not a prefix"
        assert await found("pip-3", "PIP-", "p_p-", "p%", "pip-12") == []

    async def test_a_key_is_kept_once_and_the_last_one_stays(self, storage: Storage, lease: Lease) -> None:
        later = replace(NEWER, key=KEPT.key)
        await storage.caches.keep(KEPT, lease)
        await storage.caches.keep(later, lease)
        assert await storage.caches.list(limit=10) == [later]

    async def test_a_use_of_a_cache_is_noted(self, storage: Storage, lease: Lease) -> None:
        await storage.caches.keep(KEPT, lease)
        now = T0 + timedelta(hours=1)
        await storage.caches.note_use(KEPT.id, now, lease)
        await storage.caches.note_use(NEWER.id, now, lease)
        assert await storage.caches.list(limit=10) == [replace(KEPT, last_used_time=now)]

    async def test_drops_rows(self, storage: Storage, lease: Lease) -> None:
        for cache in (KEPT, NEWER):
            await storage.caches.keep(cache, lease)
        assert await storage.caches.drop([KEPT.id, "unknown"]) == 1
        assert await storage.caches.list(limit=10) == [NEWER]
        assert await storage.caches.drop([NEWER.id], lease=lease) == 1
        assert await storage.caches.drop([NEWER.id], lease=lease) == 0
