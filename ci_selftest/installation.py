"""The installation under test: two API processes and two controllers, all separate."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from ci_client.aio import CiClient
from ci_client.errors import ClientError
from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import CiError
from ci_common.settings import Settings
from ci_selftest.parts import Part
from ci_selftest.schedule import LEASE_SECONDS
from ci_selftest.scratch import Scratch

APIS = ("api-1", "api-2")
CONTROLLERS = ("controller-1", "controller-2")
SLOTS = 4
"""MAX_CONCURRENCY of the installation."""
_POOL_SIZE = 3
"""Fewer than slots, so that some jobs start warm and some cold."""
_GRACE_SECONDS = 1.0
_PREPARED_SECONDS = 20.0
"""The age from which environments are made again: so short that this happens within a run."""
_UP_WITHIN_SECONDS = 60.0
_LEADS = re.compile(rb"this controller leads \(term (\d+)\)")
_OURS = re.compile(r"(CI|MAX)_.*|PORT|XDG_STATE_HOME|TMPDIR")
_KEPT = frozenset({"CI_CA_BUNDLE", "CI_PASS_ENV"})


class PartsNotUp(CiError):
    """The installation does not start."""


class Installation:
    """The processes under test, all on one scratch directory."""

    def __init__(
        self,
        scratch: Scratch,
        database: DatabaseAddress,
        ways: Mapping[str, DatabaseAddress],
        *,
        runtime: str,
        image: str,
        ports: Sequence[int],
    ) -> None:
        """`ways` are other addresses of the database for single parts, by name.

        `ports` are those of the two servers, which keep them when they are restarted.
        """
        self._ways = ways
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self._environment = _environment(scratch, database, runtime=runtime, image=image)
        self.apis = [self._part(scratch, name, "serve", PORT=str(port)) for name, port in zip(APIS, ports, strict=True)]
        self.controllers = [self._part(scratch, name, "controller") for name in CONTROLLERS]

    def _part(self, scratch: Scratch, name: str, command: str, **settings: str) -> Part:
        way = _naming(self._ways[name]) if name in self._ways else {}
        return Part(name, (command,), self._environment | way | settings, scratch.logs / f"{name}.log")

    @property
    def parts(self) -> list[Part]:
        return [*self.apis, *self.controllers]

    @property
    def settings(self) -> Settings:
        """The settings of all parts."""
        return Settings.from_env(self._environment)

    @property
    def client_environment(self) -> dict[str, str]:
        """The environment for `ci` commands that use the installation."""
        return dict(self._environment)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all parts while the block runs. Raises PartsNotUp."""
        try:
            for part in self.parts:
                await part.open()
            await self.up()
            yield
        finally:
            await asyncio.gather(*(part.close() for part in self.parts))

    def leader(self) -> Part:
        """Return the controller that leads, according to the controllers' logs."""
        return max(self.controllers, key=_last_term)

    def standby(self) -> Part:
        """Return the controller that does not lead."""
        return min(self.controllers, key=_last_term)

    async def up(self) -> None:
        """Wait until all servers answer. Raises PartsNotUp."""
        for url in self.urls:
            await self._up(url)

    async def _up(self, url: str) -> None:
        deadline = asyncio.get_running_loop().time() + _UP_WITHIN_SECONDS
        while True:
            try:
                async with CiClient(url) as client:
                    await client.health()
                    return
            except ClientError as exc:
                problem = exc
            if asyncio.get_running_loop().time() > deadline:
                raise PartsNotUp(f"the server did not start within {_UP_WITHIN_SECONDS:.0f} s: {problem}")
            await asyncio.sleep(0.1)


def _environment(scratch: Scratch, database: DatabaseAddress, *, runtime: str, image: str) -> dict[str, str]:
    """Return the environment of the parts: the user's, without variables that would connect it to anything else."""
    users = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name) or name in _KEPT}
    return users | {
        **_naming(database),
        "CI_DATA_DIR": str(scratch.data.path),
        "CI_CONTAINER_PREFIX": scratch.container_prefix,
        "CI_RUNTIME": runtime,
        "CI_DEFAULT_IMAGE": image,
        "CI_CONTROLLER": "off",
        "CI_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
        "CI_RECONCILE_INTERVAL": "0.5",
        "CI_STOP_GRACE": f"{_GRACE_SECONDS:g}",
        "CI_HOST": "127.0.0.1",
        "MAX_CONCURRENCY": str(SLOTS),
        "CI_POOL_SIZE": str(_POOL_SIZE),
        "CI_PREPARED_MAX_AGE": f"{_PREPARED_SECONDS:g}",
        "TMPDIR": str(scratch.temporary),
        "XDG_STATE_HOME": str(scratch.state),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def _naming(database: DatabaseAddress) -> dict[str, str]:
    if database.url is not None:
        return {"CI_DATABASE_URL": database.url.text}
    return {"CI_DB_PATH": str(database.path)}


def _last_term(controller: Part) -> int:
    terms = _LEADS.findall(controller.log.read_bytes()) if controller.log.exists() else []
    return int(terms[-1]) if terms else 0
