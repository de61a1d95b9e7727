"""One workload on trial: what the suite does with a runtime, in a few verbs."""

import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from ci_common.jobs import new_job_id
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_controller.policy import WorkloadPhase
from ci_controller.run_directory.preparation import opened_gate, prepare, write_script
from ci_controller.runtime.protocol import EngineStatus, Runtime, WorkloadKey, WorkloadSpec
from tests.helpers.waiting import eventually


@dataclass
class Trial:
    """A prepared run directory, and the runtime that is to run it."""

    runtime: Runtime
    spec: WorkloadSpec

    @property
    def key(self) -> WorkloadKey:
        return self.spec.key

    @property
    def run(self) -> RunDirectory:
        return self.spec.run

    @property
    def workspace(self) -> Path:
        return self.spec.run.workspace

    async def to_gate(self) -> None:
        """Prepare and start the workload, and wait until it is at its gate."""
        await self.runtime.create(self.spec)
        await self.runtime.start(self.key)
        await eventually(self.run.is_waiting, "the script is at its gate")

    async def through_gate(self) -> None:
        """Open the gate, and wait until the job's own code may have begun."""
        with opened_gate(self.run):
            await eventually(self.run.is_started, "the script is through its gate")

    async def end(self) -> EngineStatus:
        """Wait until the workload has exited, and let it go where it stays after its end."""
        with opened_gate(self.run) if self.run.is_started() else nullcontext():
            return await self.exited()

    async def exited(self) -> EngineStatus:
        """Wait until the workload has exited by itself."""
        return await eventually(self._exited, "the workload has exited")

    async def execute(self) -> EngineStatus:
        """Do all of it."""
        await self.to_gate()
        await self.through_gate()
        return await self.end()

    async def running(self) -> None:
        """Go through the gate, and wait until the job has made the file `ready` in its workspace."""
        await self.to_gate()
        await self.through_gate()
        await eventually((self.workspace / "ready").exists, "the job has begun")

    async def phase(self) -> WorkloadPhase:
        return (await self.runtime.look(self.key)).phase

    async def _exited(self) -> EngineStatus | None:
        workload = await self.runtime.look(self.key)
        assert workload.phase in (WorkloadPhase.RUNNING, WorkloadPhase.EXITED)
        return workload if workload.phase is WorkloadPhase.EXITED else None


@dataclass
class Lifeline:
    """A FIFO in a workspace that tells whether anything of a job still lives: whatever does holds it open."""

    path: Path

    def __post_init__(self) -> None:
        os.mkfifo(self.path)
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def held(self) -> bool:
        """Tell whether some process has the FIFO open for writing."""
        try:
            return os.read(self._descriptor, 1) != b""
        except BlockingIOError:
            return True

    def close(self) -> None:
        os.close(self._descriptor)


def make_spec(
    runtime: Runtime, data: DataDirectory, image: str, *steps: str, job_id: str | None = None, **plan: object
) -> WorkloadSpec:
    """Prepare the run directory of a job whose steps are shell text, as the controller does. `plan` is its rest."""
    fields: dict[str, object] = {
        "image": image,
        "steps": tuple(PlannedStep(name=f"step {n}", shell=text) for n, text in enumerate(steps, start=1)),
        "timeout": 60,
        "network": False,
    }
    return spec_of(runtime, data, ExecutionPlan.model_validate(fields | plan), job_id=job_id)


def spec_of(runtime: Runtime, data: DataDirectory, plan: ExecutionPlan, *, job_id: str | None = None) -> WorkloadSpec:
    """Prepare the run directory of a job with this plan."""
    key = WorkloadKey(job_id or new_job_id(), 1)
    spec = WorkloadSpec(key, data.run(key.job_id, key.attempt), plan)
    around = runtime.describe(plan, spec.run)
    script = write_script(plan, base=str(around.base), environment=around.environment, setup=around.setup)
    prepare(spec.run, script, has_console=runtime.has_console)
    return spec
