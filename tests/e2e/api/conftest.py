"""Real servers on free ports."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.disk import Disk
from ci_persistence.open import sqlite_storage
from ci_server.app import create_api
from ci_server.connections import tracker
from ci_server.connections.serving import serve
from tests.helpers.played_api import Api, PlayedController, StartApi


@pytest.fixture
async def start_api(tmp_path: Path) -> AsyncIterator[StartApi]:
    """Start servers in this event loop, on free ports; all are stopped in the end."""
    running: list[Api] = []

    async def start(name: str = "jobs", *, disk: Disk | None = None, **overrides: Any) -> Api:
        settings = Settings(db_path=tmp_path / f"{name}.db", **overrides)
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            serve(create_api(settings, disk=disk), on_ready=ready.set_result, install_signal_handlers=False)
        )
        await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        storage = sqlite_storage(settings.db_path)
        await storage.open()
        data = DataDirectory(settings.data_path)
        client = httpx.AsyncClient(base_url=await ready, timeout=20, trust_env=False)
        api = Api(await ready, client, settings, data, PlayedController(storage, data), serving)
        running.append(api)
        return api

    yield start
    for api in running:
        await api.client.aclose()
        api.serving.cancel()
        await asyncio.gather(api.serving, return_exceptions=True)
        await api.controller.storage.close()


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    started: Api = await start_api()
    return started


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes fifty times as fast at the tracker."""
    monkeypatch.setattr(tracker, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(tracker, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(tracker, "IDLE_SECONDS", 0.4)
