"""A runtime that changes nothing for a controller that may not lead any more."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from ci_common.run_directory.layout import RunDirectory
from ci_common.spec import ExecutionPlan
from ci_controller.run_directory.script import Setup
from ci_controller.runtime.protocol import Progress, Runtime, Sighting, Workload, WorkloadKey, WorkloadSpec

Check = Callable[[], None]
"""Raises LeadershipLost unless this controller certainly leads; `Leadership.check`."""


class GuardedRuntime:
    """Passes everything on to another `Runtime`, but calls `check` before what changes a workload or its files.

    A pull is let through: it changes nothing of any job, and whoever leads then finds the image.
    """

    def __init__(self, runtime: Runtime, check: Check) -> None:
        self._runtime = runtime
        self._check = check
        self.name = runtime.name
        self.isolated = runtime.isolated
        self.has_console = runtime.has_console

    async def open(self) -> None:
        await self._runtime.open()

    async def close(self) -> None:
        await self._runtime.close()

    async def ping(self) -> None:
        await self._runtime.ping()

    async def has_image(self, image: str) -> bool:
        return await self._runtime.has_image(image)

    async def pull(self, image: str, progress: Progress) -> None:
        await self._runtime.pull(image, progress)

    def base_directory(self, run: RunDirectory) -> Path:
        return self._runtime.base_directory(run)

    def environment(self) -> dict[str, str]:
        return self._runtime.environment()

    def setup(self, run: RunDirectory, plan: ExecutionPlan) -> Setup | None:
        return self._runtime.setup(run, plan)

    async def kind_of(self, plan: ExecutionPlan) -> str | None:
        return await self._runtime.kind_of(plan)

    async def look(self, key: WorkloadKey) -> Workload:
        return await self._runtime.look(key)

    async def list_workloads(self) -> list[Sighting]:
        return await self._runtime.list_workloads()

    def events(self) -> AsyncIterator[WorkloadKey]:
        return self._runtime.events()

    def forget(self) -> None:
        self._runtime.forget()

    async def tidy(self) -> None:
        self._check()
        await self._runtime.tidy()

    async def create(self, spec: WorkloadSpec) -> None:
        self._check()
        await self._runtime.create(spec)

    async def start(self, key: WorkloadKey) -> None:
        self._check()
        await self._runtime.start(key)

    async def stop(self, key: WorkloadKey, grace: float, run: RunDirectory | None = None) -> None:
        self._check()
        await self._runtime.stop(key, grace, run)

    async def discard(self, key: WorkloadKey) -> None:
        self._check()
        await self._runtime.discard(key)

    async def remove(self, key: WorkloadKey) -> None:
        self._check()
        await self._runtime.remove(key)

    async def reclaim(self, path: Path) -> None:
        self._check()
        await self._runtime.reclaim(path)
