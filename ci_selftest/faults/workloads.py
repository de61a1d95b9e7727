"""Hits the workloads of a run's jobs from outside: containers by the engine, processes by signals."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ci_common.errors import RuntimeUnavailable
from ci_common.run_directory import tickets
from ci_common.run_directory.layout import DataDirectory, read_capped
from ci_common.system.processes import ProcessIdentity
from ci_controller.runtime.docker.containers import INSTALLATION, JOB, PROFILE
from ci_controller.runtime.docker.engine import Absent, Conflict, Engine

_RECORD_BYTES = 4096


class Workloads(Protocol):
    """The workloads of one installation. Every method may raise RuntimeUnavailable."""

    async def running(self) -> list[str]:
        """Return the sorted ids of the jobs whose workload runs."""

    async def kill(self, job_id: str) -> bool:
        """Send SIGKILL to a job's workload, and return whether there was one."""

    async def remove(self, job_id: str) -> bool:
        """Remove a job's container or supervisor, and return whether there was one."""

    async def waiting(self) -> set[str]:
        """Return the ids of warm containers that no job has claimed."""

    async def left(self) -> list[str]:
        """Return the names of the installation's workloads and helpers, in any state, except warm containers."""

    async def clear(self) -> None:
        """Remove all workloads."""

    async def close(self) -> None:
        """Disconnect."""


class Containers:
    """The containers of an installation. `engine` is open, and is closed by `close`."""

    def __init__(self, engine: Engine, data: DataDirectory, installation_id: str) -> None:
        self._engine = engine
        self._pool = data.pool
        self._label = f"{INSTALLATION}={installation_id}"

    async def running(self) -> list[str]:
        listed = await self._list(JOB, status="running")
        own = {container["Labels"][JOB] for container in listed if not _is_from_pool(container)}
        return sorted(own | {job_id for job_id, _ in self._holders(listed).values()})

    async def kill(self, job_id: str) -> bool:
        hit = False
        for container in await self._of(job_id):
            with suppress(Absent, Conflict):  # It has just ended.
                async with self._engine.call() as docker:
                    await docker.containers.container(container.id).kill()
                hit = True
        return hit

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
        left = [container for container in await self._list() if container["Labels"].get(JOB) not in waiting]
        return sorted(name.lstrip("/") for container in left for name in container["Names"])

    async def clear(self) -> None:
        for container in await self._list():
            await self._engine.remove_container(container.id)

    async def close(self) -> None:
        await self._engine.close()

    def _holders(self, containers: list[Any]) -> dict[str, tuple[str, int]]:
        """Return the attempts that claimed warm containers among these, by container."""
        holders = tickets.holders(self._pool)
        warm = [container["Labels"][JOB] for container in containers if _is_from_pool(container)]
        return {workload: holders[workload] for workload in warm if workload in holders}

    async def _of(self, job_id: str) -> list[Any]:
        """Return the job's running containers."""
        claimed = (workload for workload, (holder, _) in tickets.holders(self._pool).items() if holder == job_id)
        return await self._list(f"{JOB}={next(claimed, job_id)}", status="running")

    async def _list(self, *labels: str, status: str | None = None) -> list[Any]:
        filters = {"label": [self._label, *labels]} | ({} if status is None else {"status": [status]})
        async with self._engine.call() as docker:
            return list(await docker.containers.list(all=True, filters=json.dumps(filters)))


def _is_from_pool(container: Any) -> bool:
    return PROFILE in container["Labels"]


class Processes:
    """The process jobs with records in this data directory."""

    def __init__(self, data: DataDirectory) -> None:
        self._records = data.processes

    async def running(self) -> list[str]:
        return sorted(path.name.rpartition(".")[0] for path in self._paths() if _process(path / "script") is not None)

    async def kill(self, job_id: str) -> bool:
        """Kill the job: first its supervisor, which would record the script's end, then the script's process group."""
        self._signal(job_id, "supervisor")
        return self._signal(job_id, "script")

    async def remove(self, job_id: str) -> bool:
        """Kill only the job's supervisor. The job still runs to its own result."""
        return self._signal(job_id, "supervisor")

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
        process = _process(self._records / f"{job_id}.1" / name)
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
