"""A controller that dies of SIGKILL at the stage it is told; run as a program of its own."""

import asyncio
import importlib
import os
import signal
import sys
import threading
from pathlib import Path

from ci_common.run_directory.layout import DataDirectory
from ci_common.spec import ExecutionPlan
from ci_controller.runtime.protocol import WorkloadKey, WorkloadSpec
from tests.contracts.runtime_suite.trial import Trial


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(where: str, path: str, job_id: str, image: str, stage: str) -> None:
    """Drive a prepared job with the runtime of the test class `module:name`, until it is time to die."""
    module, _, name = where.partition(":")
    data = DataDirectory(Path(path))
    runtime = await getattr(importlib.import_module(module), name).open_runtime(data)
    plan = ExecutionPlan(image=image, steps=(), timeout=60, network=False)
    trial = Trial(runtime, WorkloadSpec(WorkloadKey(job_id, 1), data.run(job_id, 1), plan))
    await runtime.create(trial.spec)
    if stage == "created":
        die()
    if stage.startswith("starting"):
        threading.Timer(float(stage.split()[1]), die).start()
    await runtime.start(trial.key)
    if stage == "started":
        die()
    await trial.to_gate()
    await trial.through_gate()
    if stage == "open":
        die()
    await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
