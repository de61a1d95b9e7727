"""What every `Storage` promises about secrets."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ci_common.secrets.stored import StoredSecret
from ci_persistence.storage import Storage
from tests.contracts.storage_place import Base

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HERE = StoredSecret(
    project="website",
    name="TOKEN",
    sealed="v1.aa.AAAA",
    created_time=T0,
    created_by="alice",
    changed_time=T0,
    changed_by="alice",
)
ELSEWHERE = replace(HERE, project=None, sealed=None, reference="env:TOKEN", is_masked=False)
LATER = {"changed_time": T0 + timedelta(hours=1), "changed_by": "bob"}


class SecretSuite(Base):
    async def test_keeps_secrets_by_project_and_name(self, storage: Storage) -> None:
        other = replace(HERE, name="OTHER", project='ünïcödé, "quoted"')
        for secret in (HERE, ELSEWHERE, other):
            assert await storage.secrets.get(secret.project, secret.name) is None
            await storage.secrets.put(secret)
        for secret in (HERE, ELSEWHERE, other):
            assert await storage.secrets.get(secret.project, secret.name) == secret
        assert await storage.secrets.list() == [ELSEWHERE, HERE, other]

    async def test_a_new_value_keeps_when_the_secret_was_made(self, storage: Storage) -> None:
        await storage.secrets.put(HERE)
        await storage.secrets.put(replace(ELSEWHERE, project="website", created_by="bob", **LATER))
        expected = replace(HERE, sealed=None, reference="env:TOKEN", is_masked=False, **LATER)
        assert await storage.secrets.get("website", "TOKEN") == expected

    async def test_replaces_what_is_there_and_nothing_else(self, storage: Storage) -> None:
        changed = replace(HERE, sealed="v1.bb.BBBB", created_by="bob", **LATER)
        assert not await storage.secrets.replace(changed)
        assert await storage.secrets.list() == []
        await storage.secrets.put(HERE)
        assert await storage.secrets.replace(changed)
        assert await storage.secrets.list() == [replace(changed, created_by="alice")]

    async def test_removes_one(self, storage: Storage) -> None:
        for secret in (HERE, ELSEWHERE):
            await storage.secrets.put(secret)
        assert await storage.secrets.remove("website", "TOKEN")
        assert not await storage.secrets.remove("website", "TOKEN")
        assert await storage.secrets.list() == [ELSEWHERE]

    async def test_reseals_only_what_was_read(self, storage: Storage) -> None:
        await storage.secrets.put(HERE)
        assert await storage.secrets.reseal(HERE, "v1.bb.CCCC")
        assert not await storage.secrets.reseal(HERE, "v1.bb.DDDD"), "it has been changed since"
        assert await storage.secrets.get("website", "TOKEN") == replace(HERE, sealed="v1.bb.CCCC")
