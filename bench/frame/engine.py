"""The engine, used directly: the reference for everything that starts containers."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from bench.frame.model import LeftOut
from bench.server import CLEARED_SECONDS

USUAL = "unix:///var/run/docker.sock"
LABEL = "ci-server.bench"
"""The label of every container that is created here by anything but the product."""


class RawEngine:
    """The engine's HTTP API. Use `connected`."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    @classmethod
    @asynccontextmanager
    async def connected(cls) -> AsyncIterator[Self]:
        """Connect to the engine that DOCKER_HOST names, or to the usual one. Raises LeftOut if none answers."""
        parts = urlsplit(os.environ.get("DOCKER_HOST") or USUAL)
        unix = parts.scheme == "unix"
        connector = aiohttp.UnixConnector(parts.path, limit=0) if unix else aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            engine = cls(session, "http://localhost" if unix else f"http://{parts.netloc}")
            try:
                await engine.ask("GET", "/_ping")
            except aiohttp.ClientError as exc:
                raise LeftOut(f"no Docker engine answers: {exc}") from exc
            yield engine

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Return the answer if it is JSON, else None. Raises aiohttp.ClientError."""
        async with self._session.request(method, self._base + path, params=query, json=body) as answer:
            content = await answer.read()
            if answer.status >= 400:
                raise aiohttp.ClientError(f"{method} {path}: {answer.status} {content.decode(errors='replace')}")
            return json.loads(content) if answer.content_type == "application/json" and content else None

    async def run(self, config: dict[str, Any]) -> None:
        """Create, start, await and remove a container. Raises RuntimeError unless its exit status is 0."""
        created = await self.ask("POST", "/containers/create", config)
        path = f"/containers/{created['Id']}"
        try:
            await self.ask("POST", f"{path}/start")
            ended = await self.ask("POST", f"{path}/wait")
        finally:
            await self.ask("DELETE", path, v="1", force="1")
        if ended["StatusCode"]:
            raise RuntimeError(f"a container of the benchmark ended with {ended['StatusCode']}")

    async def rate(self, config: dict[str, Any], count: int, at_once: int) -> float:
        """Return how many such containers run per second, `at_once` at a time."""
        left = iter(range(count))

        async def one_after_another() -> None:
            for _ in left:
                await self.run(config)

        begun = time.perf_counter()
        await asyncio.gather(*(one_after_another() for _ in range(at_once)))
        return count / (time.perf_counter() - begun)

    async def quiet(self) -> None:
        """Wait until no container with our label is left. Raises TimeoutError."""
        filters = json.dumps({"label": [LABEL]})
        async with asyncio.timeout(CLEARED_SECONDS):
            while await self.ask("GET", "/containers/json", all="1", filters=filters):
                await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Run:
    """The times of one `docker run`, in milliseconds since its start."""

    first: float
    """Until the first byte of output."""
    whole: float
    """Until the command had ended."""
    output: bytes


async def docker_run(image: str, command: list[str], *options: str) -> Run:
    """Return the times of `docker run --rm` of a command. Raises RuntimeError unless its exit status is 0."""
    words = ["docker", "run", "--rm", "--label", LABEL, *options, image, *command]
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    output = await process.stdout.read(1)
    first = time.perf_counter()
    rest, errors = await process.communicate()
    whole = time.perf_counter()
    if process.returncode:
        raise RuntimeError(f"docker run ended with {process.returncode}: {errors.decode(errors='replace')}")
    return Run((first - begun) * 1000, (whole - begun) * 1000, output + rest)
