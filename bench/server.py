"""A server of the product in its own process, on temporary paths."""

import asyncio
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ci_client.aio import CiClient
from ci_common.run_directory.attributes import allow_changes_to_logs
from tests.helpers.service import Service, containers

POOL_SECONDS = 120.0
"""How long a pool may take to fill."""
CLEARED_SECONDS = 120.0
"""How long containers may take to disappear."""
PREPARED_SECONDS = 300.0
"""How long an environment may take to be prepared."""


@contextmanager
def serving(prefix: str = "bench", **settings: str) -> Iterator[Service]:
    """Run a server on temporary paths; its containers' names begin with `prefix` and the number of this process."""
    with tempfile.TemporaryDirectory() as directory:
        own = {
            "CI_CONTAINER_PREFIX": own_prefix(prefix),
            "CI_DB_PATH": f"{directory}/ci_jobs.db",
            "CI_LOG_LEVEL": "warning",
            "CI_SERVER_URL": "",
            "PORT": "0",
            "XDG_STATE_HOME": f"{directory}/state",
        }
        service = Service(own | settings)
        try:
            yield service.start()
        finally:
            service.stop(within=30)
            # The log of a job that has just ended may only grow until the attempt is cleared.
            allow_changes_to_logs(Path(settings.get("CI_DATA_DIR", f"{directory}/ci_jobs.data")))


def own_prefix(prefix: str) -> str:
    """Return the prefix of the names of a server's containers."""
    return f"{prefix}-{os.getpid()}-"


class Pool:
    """A server's warm containers, as a measurement sees them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.trouble = ""
        """Why the pool was not filled in time. After that it is not awaited again."""

    async def filled(self, count: int = 1) -> bool:
        """Return True once at least `count` containers are warm and none is being created, False after a timeout."""
        if self.trouble:
            return False
        state: dict[str, Any] = {}
        try:
            async with asyncio.timeout(POOL_SECONDS):
                while not _is_filled(state := await self._ask(), count):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self.trouble = f"not filled with {count} within {POOL_SECONDS:g} s: {state}"
            return False
        return True

    async def waiting(self) -> int:
        """Return the number of warm containers."""
        return int((await self._ask())["waiting"])

    async def _ask(self) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False) as client:
            return dict((await client.get(f"{self._url}/pool")).raise_for_status().json())


def _is_filled(state: Mapping[str, Any], count: int) -> bool:
    kinds = state["kinds"]
    is_at_rest = all(not kind["starting"] and kind["waiting"] >= kind["wanted"] for kind in kinds)
    return state["waiting"] >= count and is_at_rest


async def environment_waits(url: str, key: str | None = None) -> None:
    """Return once a container of a prepared environment waits, of the one with `key` if given. Raises TimeoutError."""
    async with asyncio.timeout(PREPARED_SECONDS), CiClient(url) as client:
        while True:
            made = {each["reference"] for each in await client.environments() if key in (None, each["key"])}
            kinds = (await client.pool())["kinds"]
            if any(kind["image"] in made and kind["waiting"] for kind in kinds):
                return
            await asyncio.sleep(0.05)


async def environment_made(url: str) -> None:
    """Return once there is a prepared environment."""
    async with CiClient(url) as client:
        while not await client.environments():
            await asyncio.sleep(0.05)


async def cleared(prefix: str, *, but: int = 0) -> None:
    """Wait until at most `but` containers with this name prefix are left. Raises TimeoutError."""
    async with asyncio.timeout(CLEARED_SECONDS):
        while len(await asyncio.to_thread(containers, prefix)) > but:
            await asyncio.sleep(0.02)
