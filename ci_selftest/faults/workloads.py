"""Hits the workloads of a run's jobs from outside: containers by the engine, processes by signals."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ci_common.run_directory import tickets
from ci_common.run_directory.layout import DataDirectory
from ci_common.run_directory.untrusted_files import read_capped
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.system.processes import ProcessIdentity
from ci_controller.runtime.docker.containers import HELPER, INSTALLATION, JOB, NETWORK, PROFILE, SERVICE, SETUP
from ci_controller.runtime.docker.engine import Absent, Conflict, Engine

_RECORD_BYTES = 4096
_FIRST = ".1"
"""The end of the names of first attempts' records."""


class Workloads(Protocol):
    """The workloads of one installation. Every method may raise RuntimeUnavailable."""

    have_services: bool
    """Whether jobs can have services and prepared environments, by an engine."""

    async def running(self) -> list[str]:
        """Return the sorted ids of the jobs whose workload runs, and can be hit."""

    async def kill(self, job_id: str) -> bool:
        """Send SIGKILL to a job's workload, and return whether there was one."""

    async def remove(self, job_id: str) -> bool:
        """Remove a job's container or supervisor, and return whether there was one."""

    async def served(self) -> list[str]:
        """Return the sorted ids of the jobs that have a running service."""

    async def kill_service(self, job_id: str) -> bool:
        """Send SIGKILL to a job's services, and return whether there was one."""

    async def setups(self) -> list[str]:
        """Return the ids of the containers in which setups run apart from their jobs."""

    async def kill_container(self, identity: str) -> bool:
        """Send SIGKILL to a container, and return whether it ran."""

    async def environments(self) -> set[str]:
        """Return what prepared environments there are, as their rows name them."""

    async def waiting(self) -> set[str]:
        """Return the ids of warm containers that no job has claimed."""

    async def left(self) -> list[str]:
        """Return the names of all that the installation has in the engine, except warm containers and environments."""

    async def clear(self) -> None:
        """Remove all workloads, and all else that the installation has in the engine."""

    async def close(self) -> None:
        """Disconnect."""


class Containers:
    """The containers of an installation. `engine` is open, and is closed by `close`."""

    have_services = True

    def __init__(self, engine: Engine, data: DataDirectory, installation_id: str) -> None:
        self._engine = engine
        self._pool = data.pool
        self._label = f"{INSTALLATION}={installation_id}"
        self._volumes: set[str] = set()
        """The anonymous volumes of all containers that were listed. The engine knows no label of theirs."""

    async def running(self) -> list[str]:
        return self._jobs_of(await self._list(JOB, status="running"))

    async def served(self) -> list[str]:
        listed = await self._list(JOB, status="running")
        served = {container["Labels"][JOB] for container in listed if SERVICE in container["Labels"]}
        return self._jobs_of([each for each in listed if each["Labels"][JOB] in served])

    def _jobs_of(self, listed: list[Any]) -> list[str]:
        jobs = [container for container in listed if SERVICE not in container["Labels"]]
        own = {container["Labels"][JOB] for container in jobs if not _is_from_pool(container)}
        return sorted(own | {job_id for job_id, _ in self._holders(jobs).values()})

    async def kill(self, job_id: str) -> bool:
        return any([await self.kill_container(each.id) for each in await self._of(job_id)])

    async def kill_service(self, job_id: str) -> bool:
        return any([await self.kill_container(each.id) for each in await self._of(job_id, services=True)])

    async def kill_container(self, identity: str) -> bool:
        with suppress(Absent, Conflict):  # It has just ended.
            async with self._engine.call() as docker:
                await docker.containers.container(identity).kill()
            return True
        return False

    async def setups(self) -> list[str]:
        listed = await self._list(SETUP, status="running")
        # The containers of jobs and helpers have this label from their image.
        return sorted(container.id for container in listed if not {JOB, HELPER} & container["Labels"].keys())

    async def environments(self) -> set[str]:
        async with self._engine.call() as docker:
            images = await docker.images.list(filters={"label": [self._label, SETUP]})
        return {image["Id"] for image in images}

    async def remove(self, job_id: str) -> bool:
        containers = await self._of(job_id)
        for container in containers:
            await self._engine.remove_container(container.id)
        return bool(containers)

    async def waiting(self) -> set[str]:
        listed = await self._list(JOB)
        held = self._holders(listed)
        return {each["Labels"][JOB] for each in listed if _is_from_pool(each)} - held.keys()

    async def left(self) -> list[str]:
        waiting = await self.waiting()
        containers, networks = await self._list(), await self._networks()
        names = [
            name.lstrip("/") for each in containers if each["Labels"].get(JOB) not in waiting for name in each["Names"]
        ]
        # The network of all jobs goes when the controller ends.
        of_jobs = [each for each in networks if NETWORK not in each["Labels"]]
        names += [f"network {each['Name']}" for each in of_jobs if each["Labels"].get(JOB) not in waiting]
        used = {name for container in containers for name in _volumes_of(container)}
        listed = json.loads(await self._engine.read("volumes", params={}))
        volumes = {each["Name"] for each in listed["Volumes"] or ()}
        return sorted([*names, *(f"volume {name}" for name in (volumes & self._volumes) - used)])

    async def clear(self) -> None:
        for container in await self._list():
            await self._engine.remove_container(container.id)
        for network in await self._networks():
            with suppress(Absent):
                async with self._engine.call() as docker:
                    await (await docker.networks.get(network["Id"])).delete()
        for image in await self.environments():
            with suppress(Absent):
                async with self._engine.call() as docker:
                    await docker.images.delete(image, force=True)

    async def _networks(self) -> list[dict[str, Any]]:
        async with self._engine.call() as docker:
            return list(await docker.networks.list(filters={"label": [self._label]}))

    async def close(self) -> None:
        await self._engine.close()

    def _holders(self, containers: list[Any]) -> dict[str, tuple[str, int]]:
        """Return the attempts that claimed warm containers among these, by container."""
        holders = tickets.holders(self._pool)
        warm = [container["Labels"][JOB] for container in containers if _is_from_pool(container)]
        return {workload: holders[workload] for workload in warm if workload in holders}

    async def _of(self, job_id: str, *, services: bool = False) -> list[Any]:
        """Return the job's own running containers, or those of its services."""
        claimed = (workload for workload, (holder, _) in tickets.holders(self._pool).items() if holder == job_id)
        listed = await self._list(f"{JOB}={next(claimed, job_id)}", status="running")
        return [container for container in listed if (SERVICE in container["Labels"]) == services]

    async def _list(self, *labels: str, status: str | None = None) -> list[Any]:
        filters = {"label": [self._label, *labels]} | ({} if status is None else {"status": [status]})
        async with self._engine.call() as docker:
            listed = list(await docker.containers.list(all=True, filters=json.dumps(filters)))
        self._volumes.update(name for container in listed for name in _volumes_of(container))
        return listed


def _volumes_of(container: Any) -> list[str]:
    return [str(mount["Name"]) for mount in container["Mounts"] or () if mount.get("Type") == "volume"]


def _is_from_pool(container: Any) -> bool:
    return PROFILE in container["Labels"]


class Processes:
    """The process jobs with records in this data directory."""

    have_services = False

    def __init__(self, data: DataDirectory) -> None:
        self._records = data.processes
        self._trees = data.trees

    async def running(self) -> list[str]:
        firsts = [path for path in self._paths() if path.name.endswith(_FIRST)]
        return sorted(path.name.removesuffix(_FIRST) for path in firsts if _process(path / "script") is not None)

    async def kill(self, job_id: str) -> bool:
        """Kill the job: first its supervisor, which would record the script's end, then the script's process group."""
        self._signal(job_id, "supervisor")
        return self._signal(job_id, "script")

    async def remove(self, job_id: str) -> bool:
        """Kill only the job's supervisor. The job still runs to its own result."""
        return self._signal(job_id, "supervisor")

    async def served(self) -> list[str]:
        return []

    async def kill_service(self, job_id: str) -> bool:  # noqa: ARG002
        return False

    async def setups(self) -> list[str]:
        return []

    async def kill_container(self, identity: str) -> bool:  # noqa: ARG002
        return False

    async def environments(self) -> set[str]:
        return {path.name for path in self._trees.iterdir()} if self._trees.is_dir() else set()

    async def waiting(self) -> set[str]:
        return set()

    async def left(self) -> list[str]:
        return sorted(path.name for path in self._paths())

    async def clear(self) -> None: ...

    async def close(self) -> None: ...

    def _paths(self) -> list[Path]:
        try:
            return [path for path in self._records.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise RuntimeUnavailable(f"{self._records} cannot be read: {exc}") from exc

    def _signal(self, job_id: str, name: str) -> bool:
        process = _process(self._records / f"{job_id}{_FIRST}" / name)
        if process is None:
            return False
        with suppress(ProcessLookupError):
            if name == "script":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(process.pid, signal.SIGKILL)
            return True
        return False


def _process(record: Path) -> ProcessIdentity | None:
    """Return the process in a record, if it is alive."""
    try:
        process = ProcessIdentity.from_json((read_capped(record, _RECORD_BYTES) or b"").decode())
    except ValueError:
        return None
    return process if process.is_alive() else None
