"""What every `Storage` promises about prepared environments."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ci_common.environments import Environment
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.storage_place import Base

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ONE = Environment(
    key="0" * 32,
    owner="local",
    project="p",
    job_id="01900000-0000-7000-8000-000000000001",
    runtime="docker",
    reference=f"sha256:{'a' * 64}",
    image="python:3.12-slim",
    setup="pip install pytest\n",
    inputs=("requirements.txt",),
    pinned=False,
    created_time=T0,
    last_used_time=T0,
    size=2**40,
    seconds=1.5,
)
OTHER = replace(ONE, key="1" * 32, project=None, inputs=(), pinned=True, last_used_time=T0 + timedelta(seconds=1))


class EnvironmentSuite(Base):
    async def test_keeps_what_was_put(self, storage: Storage, lease: Lease) -> None:
        assert await storage.environments.get(ONE.key) is None
        await storage.environments.put(ONE, lease)
        await storage.environments.put(OTHER, lease)
        assert await storage.environments.get(ONE.key) == ONE
        assert await storage.environments.list(limit=10) == [OTHER, ONE]
        assert await storage.environments.list(limit=1) == [OTHER]

    async def test_one_that_is_made_again_replaces_the_other(self, storage: Storage, lease: Lease) -> None:
        renewed = replace(ONE, reference="sha256:b", created_time=T0 + timedelta(days=1), size=1)
        await storage.environments.put(ONE, lease)
        await storage.environments.put(renewed, lease)
        assert await storage.environments.list(limit=10) == [renewed]

    async def test_a_use_is_noted(self, storage: Storage, lease: Lease) -> None:
        await storage.environments.put(ONE, lease)
        now = T0 + timedelta(hours=1)
        await storage.environments.touch(ONE.key, "another", now, lease)
        assert await storage.environments.get(ONE.key) == replace(ONE, last_used_time=now, job_id="another")
        await storage.environments.touch(OTHER.key, "another", now, lease)
        assert await storage.environments.get(OTHER.key) is None

    async def test_removes_rows(self, storage: Storage, lease: Lease) -> None:
        for environment in (ONE, OTHER):
            await storage.environments.put(environment, lease)
        assert await storage.environments.remove([ONE.key, "unknown"]) == 1
        assert await storage.environments.list(limit=10) == [OTHER]
        assert await storage.environments.remove([OTHER.key], lease=lease) == 1
        assert await storage.environments.remove([OTHER.key], lease=lease) == 0
