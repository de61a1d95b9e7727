"""Opening the database that the settings name."""

from pathlib import Path

import pytest

from ci_common.errors import DatabaseUnavailable
from ci_common.settings import Settings
from ci_persistence import open as opening
from ci_persistence.open import open_installation
from ci_persistence.stores.installations import Installation, InstallationStore


async def test_a_database_that_goes_away_once_it_is_open_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a process that starts while a server is restarted ends, as it does not one moment earlier."""
    get, failures = InstallationStore.get, [DatabaseUnavailable("no connection"), DatabaseUnavailable("lost")]

    async def away_at_first(store: InstallationStore) -> Installation:
        if failures:
            raise failures.pop()
        return await get(store)

    monkeypatch.setattr(InstallationStore, "get", away_at_first)
    settings = Settings(db_path=tmp_path / "ci_jobs.db")
    async with open_installation(settings) as storage:
        assert not failures
        await storage.ping()
    assert settings.data_path.is_dir()


async def test_it_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: InstallationStore) -> Installation:
        raise DatabaseUnavailable("no connection")

    monkeypatch.setattr(InstallationStore, "get", away)
    monkeypatch.setattr(opening, "_PATIENCE_SECONDS", 0.3)
    with pytest.raises(DatabaseUnavailable, match="no connection"):
        async with open_installation(Settings(db_path=tmp_path / "ci_jobs.db")):
            pass
