"""The network of jobs without services, and the rules for the networks of all jobs of an installation.

On their network, containers do not reach each other. It is made when the first container needs it, and removed when the
controller ends and no container is left; what a controller that died has left, the next one removes, whichever
installation it is of. Removing a network that another controller still wants does no harm, since it is made again.
"""

import asyncio
import hashlib
import logging
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ci_common.parsing.networks import Destination
from ci_common.runtime_faults import NoNetwork, RuntimeUnavailable, StartFault
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_common.times import uptime
from ci_controller.runtime.docker.cleaning import is_in_use
from ci_controller.runtime.docker.confining.packet_filter import INTERFACES, CannotFilter, PacketFilter, bridges_of
from ci_controller.runtime.docker.containers import INSTALLATION, NETWORK
from ci_controller.runtime.docker.engine import Absent, Conflict, Engine, Refusal, Traits

log = logging.getLogger(__name__)

NO_ADDRESSES = re.compile(r"address pool|fully subnetted")
NO_NETWORK = re.compile(r"network \S+ not found")
"""What the engine says where it starts a container whose network was removed."""
_LOOK_SECONDS = 30.0
_NAMES_PORT = 53
_SERVERS_OF_NAMES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


class JobNetworks:
    """The networks of one installation's containers."""

    def __init__(self, engine: Engine, installation_id: str, settings: Settings) -> None:
        self._engine = engine
        self._installation_id = installation_id
        self._settings = settings
        self._filter = PacketFilter(installation_id)
        self._lock = asyncio.Lock()
        self._has_rules = False
        self._is_made = False
        self._unfiltered: str | None = None
        self._looked = 0.0
        self._told: str | None = None
        self.name = None if settings.network == "open" else f"ci-jobs-{installation_id[:12].lower()}"
        """The network that containers are made on; None for the engine's own."""

    def note_engine(self, traits: Traits) -> None:
        """Note what engine it is now, of which nothing is known yet."""
        self._unfiltered = traits.unfiltered
        self._has_rules = self._is_made = False

    def bridge(self, *owner: object) -> dict[str, str]:
        """Return the options by which the bridge of a network is one of this installation; none for an open one."""
        if self.name is None:
            return {}
        own = hashlib.sha256(repr(owner).encode()).hexdigest()[:6] if owner else "jobs"
        return {"com.docker.network.bridge.name": f"{bridges_of(self._installation_id)}-{own}"}

    async def make(self) -> None:
        """Make the network where it is not known to be there. Raises StartFault, NoNetwork, RuntimeUnavailable."""
        if self.name is None or self._is_made:
            return
        async with self._lock:
            if not self._is_made:
                await self._install()
                await self._make()
                await self._check_rules()
                self._is_made = True

    async def make_rules(self) -> None:
        """Put the rules in place before a network of a job's own is made. Raises StartFault."""
        if self.name is not None:
            async with self._lock:
                await self._install()

    async def make_again(self) -> None:
        """Make the network that the engine does not have any more. Raises as `make`."""
        self._is_made = False
        await self.make()

    async def look(self) -> None:
        """From time to time, put back rules that others have taken away."""
        if not self._has_rules or uptime() - self._looked < _LOOK_SECONDS:
            return
        self._looked = uptime()
        if not await self._filter.holds():
            log.warning("the rules for the network of jobs were removed; they are put in place again")
            async with self._lock:
                self._has_rules = False
                await self._install()

    async def _install(self) -> None:
        if self._has_rules and await self._filter.holds():
            return
        try:
            if self._unfiltered is not None:
                raise CannotFilter(self._unfiltered)
            await self._filter.install(await asyncio.to_thread(lambda: tuple(self._allowed())))
            self._has_rules, self._looked = True, uptime()
        except CannotFilter as exc:
            self._tell(str(exc))

    async def _check_rules(self) -> None:
        """Make sure that the bridge is one that the rules are for."""
        if not self._has_rules:
            return
        if not (INTERFACES / f"{bridges_of(self._installation_id)}-jobs").exists():
            self._has_rules = False
            await self._filter.remove()
            self._tell("the engine's networks are not this machine's, as in a container")
        elif not await self._filter.holds():  # Another controller took them for those of one that is gone.
            await self._install()

    def _tell(self, why: str) -> None:
        """Refuse to run jobs, or say once that their network is not confined. Raises StartFault."""
        if self._settings.network == "confined":
            raise StartFault(
                f"the network of jobs cannot be confined, as CI_NETWORK=confined demands: {why}; see ci doctor, or let "
                "jobs run all the same by CI_NETWORK=auto"
            )
        if self._told != why:
            self._told = why
            log.warning("jobs reach this machine and private networks: %s; see ci doctor", why)

    async def _make(self) -> None:
        if await self._listed(f"{INSTALLATION}={self._installation_id}"):
            return
        config = {
            "Name": self.name,
            "CheckDuplicate": True,
            "Driver": "bridge",
            "EnableIPv6": False,
            "Labels": {INSTALLATION: self._installation_id, NETWORK: this_process().to_json()},
            "Options": {"com.docker.network.bridge.enable_icc": "false", **self.bridge()},
        }
        try:
            async with self._engine.call() as docker:
                await docker.networks.create(config)
        except Conflict:
            pass  # Another controller of this installation was faster.
        except Refusal as exc:
            if await self._listed(f"{INSTALLATION}={self._installation_id}"):
                return
            if NO_ADDRESSES.search(str(exc)):
                raise NoNetwork(
                    "the engine has no addresses left for the network of jobs, until a job with services has ended; "
                    "ci doctor says how to allow more"
                ) from exc
            raise RuntimeUnavailable(f"the network of jobs cannot be made: {exc}") from exc

    async def remove_left(self) -> None:
        """Remove the networks and rules that controllers which died have left. Raises RuntimeUnavailable."""
        if self.name is None:
            return
        for network in await self._listed():
            if not is_in_use(network["Labels"].get(NETWORK, ""), _created(network)):
                await self._remove(network["Id"])
                if network["Name"] == self.name:
                    self._is_made = False
        try:
            PacketFilter.check()
            await self._filter.remove_left()
        except CannotFilter:
            pass  # Then it has made none either.

    async def close(self) -> None:
        """Remove the network if no container needs it, and the rules if no network does."""
        if not (self._is_made or self._has_rules):
            return
        try:
            for network in await self._listed(f"{INSTALLATION}={self._installation_id}"):
                await self._remove(network["Id"])
        except RuntimeUnavailable as exc:
            log.debug("the network of jobs is left to the next controller: %s", exc)
        self._is_made = False
        if self._has_rules:
            await self._filter.remove()
            self._has_rules = False

    async def _remove(self, identity: str) -> None:
        try:
            async with self._engine.call() as docker:
                await (await docker.networks.get(identity)).delete()
        except Absent:
            pass
        except Refusal as exc:
            log.debug("a network of jobs is still used: %s", exc)

    async def _listed(self, *labels: str) -> list[dict[str, Any]]:
        async with self._engine.call() as docker:
            found: list[dict[str, Any]] = await docker.networks.list(filters={"label": [NETWORK, *labels]})
        return found

    def _allowed(self) -> Iterator[Destination]:
        """Yield what is open besides the internet: what the settings name, servers of names, and jobs' proxies."""
        yield from self._settings.network_allow.listed
        yield from (Destination(IPv4Network(each), _NAMES_PORT) for each in servers_of_names(_SERVERS_OF_NAMES))
        passed = [name.strip() for name in self._settings.pass_env.split(",")]
        yield from proxies({name: os.environ[name] for name in passed if name in os.environ})


def servers_of_names(files: Iterable[Path]) -> list[IPv4Address]:
    """Return the servers that resolve names for this machine, and so for containers."""
    found: dict[IPv4Address, None] = {}
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for words in map(str.split, lines):
            try:
                address = ip_address(words[1]) if words[:1] == ["nameserver"] and len(words) > 1 else None
            except ValueError:
                continue
            if isinstance(address, IPv4Address) and not address.is_loopback:
                found[address] = None
    return list(found)


def proxies(environment: Mapping[str, str]) -> Iterator[Destination]:
    """Yield the proxies that variables such as HTTP_PROXY name."""
    for name, url in environment.items():
        if not name.lower().endswith("_proxy") or name.lower() == "no_proxy":
            continue
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port or {"https": 443, "socks5": 1080}.get(parts.scheme, 80)
            found = socket.getaddrinfo(parts.hostname, port, socket.AF_INET, socket.SOCK_STREAM)
        except (OSError, ValueError):
            continue
        for address in {each[4][0] for each in found}:
            if not ip_address(str(address)).is_loopback:
                yield Destination(IPv4Network(str(address)), port)


def _created(network: Mapping[str, Any]) -> float:
    return datetime.strptime(network["Created"][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
