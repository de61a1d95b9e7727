"""A runtime whose workloads come to their gates and wait there, and do nothing else. The test is the engine."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ci_common.run_directory.layout import RunDirectory
from ci_common.spec import ExecutionPlan
from ci_common.system.trees import delete_tree
from ci_controller.policy.verdicts import WorkloadPhase
from ci_controller.runtime.protocol import EngineStatus, ListedWorkload, Surroundings, WorkloadKey, WorkloadSpec


@dataclass
class WaitingRuntime:
    """The half of a `Runtime` that a pool uses."""

    profiles: dict[str, str | None] = field(default_factory=dict)
    """The profile by image; by default the image's name."""
    specs: dict[WorkloadKey, WorkloadSpec] = field(default_factory=dict)
    """What exists."""
    created: list[WorkloadKey] = field(default_factory=list)
    tried: int = 0
    fault: Exception | None = None
    """What the engine answers instead of creating."""
    readers: dict[WorkloadKey, int] = field(default_factory=dict)
    name = "docker"
    isolated = True
    has_console = True
    can_wait = True

    def describe(self, plan: ExecutionPlan, run: RunDirectory) -> Surroundings:
        return Surroundings(Path("/ci"), {})

    async def profile_of(self, plan: ExecutionPlan, *, lately: bool = True) -> str | None:
        return self.profiles.get(plan.image, plan.image)

    async def create(self, spec: WorkloadSpec) -> None:
        self.tried += 1
        if self.fault is not None:
            raise self.fault
        self.created.append(spec.key)
        self.specs[spec.key] = spec

    async def start(self, key: WorkloadKey) -> None:
        run = self.specs[key].run
        self.readers[key] = os.open(run.gate, os.O_RDONLY | os.O_NONBLOCK)
        run.waiting.touch()

    async def stop(self, key: WorkloadKey, grace: float, run: RunDirectory | None = None) -> None:
        self.die(key)

    def die(self, key: WorkloadKey) -> None:
        """End a workload, as somebody else might."""
        if key in self.readers:
            os.close(self.readers.pop(key))

    async def look(self, key: WorkloadKey) -> EngineStatus:
        if key not in self.specs:
            return EngineStatus(WorkloadPhase.ABSENT)
        return EngineStatus(WorkloadPhase.RUNNING) if key in self.readers else EngineStatus(WorkloadPhase.EXITED, 143)

    async def remove(self, key: WorkloadKey, *, only_exited: bool = False) -> None:
        self.die(key)
        self.specs.pop(key, None)

    async def delete_tree(self, path: Path) -> None:
        delete_tree(path)

    async def list_workloads(self) -> list[ListedWorkload]:
        return [ListedWorkload(key, datetime.now(UTC), spec.profile) for key, spec in self.specs.items()]

    def run_of(self, key: WorkloadKey) -> RunDirectory:
        return self.specs[key].run

    def close(self) -> None:
        for key in list(self.readers):
            self.die(key)
