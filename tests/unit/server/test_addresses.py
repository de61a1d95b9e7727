"""Which addresses are served without keys."""

from pathlib import Path

import pytest

from ci_common.settings import Settings
from ci_persistence.open import open_installation
from ci_server.access.addresses import OpenAddress, check_address
from tests.helpers.keys import stored_key


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST", "ci.localhost"])
async def test_loopback_is_served_without_keys(tmp_path: Path, host: str) -> None:
    settings = Settings(db_path=tmp_path / "ci_jobs.db", host=host)
    async with open_installation(settings) as storage:
        await check_address(settings, storage.keys)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "ci.example.org", "localhost.example.org", "x y"])
async def test_other_addresses_need_a_key_or_a_setting(tmp_path: Path, host: str) -> None:
    settings = Settings(db_path=tmp_path / "ci_jobs.db", host=host)
    async with open_installation(settings) as storage:
        with pytest.raises(OpenAddress, match="ci keys create --admin"):
            await check_address(settings, storage.keys)
        for auth in ("required", "insecure"):
            await check_address(settings.model_copy(update={"auth": auth}), storage.keys)
        await stored_key(storage)
        await check_address(settings, storage.keys)
