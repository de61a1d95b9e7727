"""A server of the product in a process of its own, on temporary paths."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.helpers.service import Service, containers

POOL_SECONDS = 120.0
"""How long a pool may take to fill."""
CLEARED_SECONDS = 120.0
"""How long containers may take to go."""


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


def own_prefix(prefix: str) -> str:
    """Return what the names of a server's containers begin with."""
    return f"{prefix}-{os.getpid()}-"


async def idle_containers(url: str) -> int | None:
    """Return how many warm containers the server has waiting, or None for a server that keeps none."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/pool")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    return int(answer.raise_for_status().json()["idle"])


async def filled(url: str, count: int) -> bool:
    """Return True once the server has `count` warm containers waiting, False if it keeps none or takes too long."""
    try:
        async with asyncio.timeout(POOL_SECONDS):
            while (idle := await idle_containers(url)) is not None and idle < count:
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return idle is not None


async def cleared(prefix: str) -> None:
    """Return once no container is left whose name begins so. Raises TimeoutError."""
    async with asyncio.timeout(CLEARED_SECONDS):
        while await asyncio.to_thread(containers, prefix):
            await asyncio.sleep(0.02)
