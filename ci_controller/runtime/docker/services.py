"""The services of workloads: their containers, and the network on which a workload reaches them.

A network belongs to one workload. Its labels name the services, so that it is known from the engine alone which of them
should run. Everything is found again by labels: a controller that dies anywhere leaves nothing that the next one does
not see.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from ci_common.runtime_faults import ImageNotFound, NoNetwork, RuntimeUnavailable, ServiceFault, StartFault
from ci_common.spec import ExecutionPlan
from ci_common.spec_parts.services import Service
from ci_controller.runtime.docker.confining.limits import Confinement
from ci_controller.runtime.docker.confining.network import NO_ADDRESSES, JobNetworks
from ci_controller.runtime.docker.containers import (
    ATTEMPT,
    INSTALLATION,
    JOB,
    SERVICE,
    SERVICES,
    key_of,
    labels_of,
    network_config,
    service_config,
)
from ci_controller.runtime.docker.engine import Absent, Conflict, Engine, Refusal, Traits
from ci_controller.runtime.docker.readiness import Check, until_ready
from ci_controller.runtime.protocol import WorkloadKey

MOST_LOG_LINES = 5000
MOST_LOG_BYTES = 1024**2
"""How much of the end of a service's log is kept."""
_SHOWN_LINES = 12
_SHOWN_CHARACTERS = 2000
_NOT_STARTED = "created"
_RUNS = "running"


class ServiceContainers:
    """The services of one installation's workloads."""

    def __init__(
        self, engine: Engine, installation_id: str, prefix: str, confinement: Confinement, networks: JobNetworks
    ) -> None:
        self._engine = engine
        self._installation_id = installation_id
        self._prefix = prefix
        self._confinement = confinement
        self._networks_of_jobs = networks
        self._making: defaultdict[WorkloadKey, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def make_network(self, key: WorkloadKey, plan: ExecutionPlan) -> str:
        """Return the id of the workload's network, after making it where there is none. Raises RuntimeUnavailable."""
        async with self._making[key]:
            if (network := await self._network(key)) is None:
                await self._networks_of_jobs.make_rules()
                options = self._networks_of_jobs.bridge(key.job_id, key.attempt)
                try:
                    async with self._engine.call() as docker:
                        name = f"{self._prefix}ci-{key.job_id}-{key.attempt}"
                        labels = labels_of(self._installation_id, key)
                        await docker.networks.create(network_config(name, plan, labels, options))
                except Conflict:
                    pass
                except Refusal as exc:
                    if not NO_ADDRESSES.search(str(exc)):
                        raise RuntimeUnavailable(f"no network can be made for the job's services: {exc}") from exc
                    raise NoNetwork(
                        "the engine has no addresses left for the network of its services, until another job with "
                        "services has ended; ci doctor says how to allow more"
                    ) from exc
                # Of two that were made at once, each controller takes the same one.
                network = await self._network(key)
            if network is None:
                raise RuntimeUnavailable("the network of the job's services was removed while it was made")
            identity: str = network["Id"]
            return identity

    async def make(self, key: WorkloadKey, plan: ExecutionPlan, traits: Traits) -> None:
        """Make and start what is missing. Raises ServiceFault, StartFault, ImageNotFound, RuntimeUnavailable."""
        network = await self.make_network(key, plan)
        async with self._making[key]:
            there = await self._containers(key)
            made = [
                self._bring_up(key, name, service, there.get(name), network, traits)
                for name, service in plan.services.items()
            ]
            failed = [each for each in await asyncio.gather(*made, return_exceptions=True) if each is not None]
        for fault in failed:
            raise fault

    async def _bring_up(
        self,
        key: WorkloadKey,
        name: str,
        service: Service,
        there: Mapping[str, Any] | None,
        network: str,
        traits: Traits,
    ) -> None:
        if there is None:
            labels = labels_of(self._installation_id, key) | {SERVICE: name}
            config = service_config(name, service, labels, network, traits, self._confinement)
            try:
                async with self._engine.call() as docker:
                    await docker.containers.create(config, name=self._container(key, name))
            except Conflict:
                pass
            except Absent as exc:
                raise ImageNotFound(f"the service {name}: {exc}") from exc
            except Refusal as exc:
                raise StartFault(f"the service {name} cannot be created: {exc}") from exc
        elif there["State"] != _NOT_STARTED:
            return  # What has ended is not run again.
        try:
            async with self._engine.call() as docker:
                await docker.containers.container(self._container(key, name)).start()
        except Refusal as exc:
            raise ServiceFault(f"the service {name} cannot be started: {exc}") from exc

    async def until_ready(self, key: WorkloadKey, plan: ExecutionPlan, checks: Mapping[str, Check]) -> None:
        """Return once each service is ready by its check. Raises ServiceFault, RuntimeUnavailable."""
        waiting = {
            name: asyncio.ensure_future(self._until_ready(key, name, service, checks[name]))
            for name, service in plan.services.items()
        }
        try:
            await asyncio.gather(*waiting.values())
        finally:
            for each in waiting.values():
                each.cancel()
            await asyncio.gather(*waiting.values(), return_exceptions=True)

    async def _until_ready(self, key: WorkloadKey, name: str, service: Service, check: Check) -> None:
        try:
            async with asyncio.timeout(service.ready_timeout):
                is_ready = await until_ready(self._engine, self._container(key, name), check)
        except TimeoutError:
            why = f"was not ready within {service.ready_timeout:g} s ({check})"
            raise ServiceFault(f"the service {name} {why}{await self._end_of_log(key, name)}") from None
        if not is_ready:
            raise ServiceFault(await self._why_ended(key, name, " before it was ready"))

    async def failed(self, key: WorkloadKey) -> str | None:
        """Return which service does not run, and why; None if each does."""
        network = await self._network(key)
        if network is None:
            return "the network of the job's services was removed from outside" if await self._containers(key) else None
        there = await self._containers(key)
        for name in network["Labels"].get(SERVICES, "").split(","):
            if name not in there or there[name]["State"] != _RUNS:
                return await self._why_ended(key, name)
        return None

    async def _why_ended(self, key: WorkloadKey, name: str, when: str = "") -> str:
        try:
            async with self._engine.call() as docker:
                inspected = await docker.containers.container(self._container(key, name)).show()
        except Absent:
            return f"the service {name} was removed from outside"
        state = inspected["State"]
        memory = " for want of memory" if state.get("OOMKilled") else ""
        end = await self._end_of_log(key, name)
        return f"the service {name} ended with exit code {state['ExitCode']}{memory}{when}{end}"

    async def _end_of_log(self, key: WorkloadKey, name: str) -> str:
        """Return the last lines of a service's log as the end of a message."""
        text = (await self.log(key, name) or b"").decode(errors="replace")
        lines = ["".join(each if each.isprintable() else "?" for each in line) for line in text.splitlines()]
        shown = "\n".join(lines[-_SHOWN_LINES:])[-_SHOWN_CHARACTERS:]
        return f"; its log ends with:\n{shown}" if shown.strip() else "; its log is empty"

    async def log(self, key: WorkloadKey, name: str) -> bytes | None:
        """Return the end of what a service has written, stdout and stderr in one; None if it does not exist."""
        path = f"containers/{self._container(key, name)}/logs"
        try:
            raw = await self._engine.read(path, params={"stdout": "1", "stderr": "1", "tail": str(MOST_LOG_LINES)})
        except Absent:
            return None
        return _joined(raw)[-MOST_LOG_BYTES:]

    async def logs(self, key: WorkloadKey, names: Collection[str]) -> dict[str, bytes]:
        """Return the end of what each service has written, of those that exist."""
        found = zip(names, await asyncio.gather(*(self.log(key, name) for name in names)), strict=True)
        return {name: log for name, log in found if log is not None}

    async def remove_containers(self, key: WorkloadKey) -> None:
        """Remove the services, running or not."""
        async with self._making[key]:
            there = await self._containers(key)
            await asyncio.gather(*(self._engine.remove_container(each["Id"]) for each in there.values()))

    async def remove_network(self, key: WorkloadKey) -> None:
        """Remove the network, once nothing is on it any more."""
        async with self._making[key]:
            for network in await self._networks(key):
                try:
                    async with self._engine.call() as docker:
                        await (await docker.networks.get(network["Id"])).delete()
                except Absent:
                    pass
        self._making.pop(key, None)

    async def exist(self, key: WorkloadKey) -> bool:
        """Return whether anything of them is left."""
        return bool(await self._networks(key)) or bool(await self._containers(key))

    async def keys_of_networks(self) -> set[WorkloadKey]:
        """Return the workloads of this installation that have a network."""
        keys = [key_of(network.get("Labels") or {}) for network in await self._listed(JOB)]
        return {key for key in keys if key is not None}

    async def _network(self, key: WorkloadKey) -> dict[str, Any] | None:
        found = await self._networks(key)
        return min(found, key=lambda network: (network["Created"], network["Id"]), default=None)

    async def _networks(self, key: WorkloadKey) -> list[dict[str, Any]]:
        return await self._listed(f"{JOB}={key.job_id}", f"{ATTEMPT}={key.attempt}")

    async def _listed(self, *labels: str) -> list[dict[str, Any]]:
        filters = {"label": [*self._own, *labels]}
        async with self._engine.call() as docker:
            found: list[dict[str, Any]] = await docker.networks.list(filters=filters)
        return found

    async def _containers(self, key: WorkloadKey) -> dict[str, dict[str, Any]]:
        """Return the listed containers of the services, by name."""
        labels = [f"{name}={value}" for name, value in labels_of(self._installation_id, key).items()]
        async with self._engine.call() as docker:
            found = await docker.containers.list(all=True, filters=json.dumps({"label": [*labels, SERVICE]}))
        return {each["Labels"][SERVICE]: {"Id": each.id, "State": each["State"]} for each in found}

    @property
    def _own(self) -> list[str]:
        return [f"{INSTALLATION}={self._installation_id}"]

    def _container(self, key: WorkloadKey, name: str) -> str:
        return f"{self._prefix}ci-{key.job_id}-{key.attempt}-{name}"


def _joined(frames: bytes) -> bytes:
    """Return what is in the frames of a log: each has eight bytes before it, of which the last four are its length."""
    parts, position = [], 0
    while position + 8 <= len(frames):
        size = int.from_bytes(frames[position + 4 : position + 8], "big")
        parts.append(frames[position + 8 : position + 8 + size])
        position += 8 + size
    return b"".join(parts)
