"""The limits of a job's container, and what is told of a job that came up against them."""

import json

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import LimitUnenforceable, StartFault
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.docker import engine as docker_engine
from ci_controller.runtime.protocol import EngineStatus, Runtime
from tests.contracts.docker_bench import DockerBench, inspect_container
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.contracts.runtime_suite.trial import Trial, make_spec
from tests.engine.api import EngineAPI, require_engine
from tests.engine.images import user_image


def kills(one: Trial) -> int | None:
    ended = one.run.read_exit()
    return None if ended is None else ended.oom_kills


def refusals(one: Trial) -> int | None:
    ended = one.run.read_exit()
    return None if ended is None else ended.refused_forks


class TestLimits(DockerBench):
    async def test_memory(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial("tail /dev/zero", limits={"memory": "16m"})
        workload = await one.execute()
        assert workload == EngineStatus(WorkloadPhase.EXITED, exit_code=137, out_of_memory=True)
        assert kills(one) > 0

    async def test_memory_that_suffices_is_not_reported(self, trial: MakeTrial) -> None:
        one = trial("kill -9 $(sh -c 'echo $PPID')", limits={"memory": "16m"})
        assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=137, out_of_memory=False)
        assert kills(one) == 0

    async def test_a_child_that_needed_too_much_memory(self, trial: MakeTrial) -> None:
        one = trial("tail /dev/zero; echo it ended with $?; exit 3", limits={"memory": "16m"})
        assert (await one.execute()).exit_code == 3
        assert one.run.log.read_bytes().endswith(b"it ended with 137\n")
        assert kills(one) > 0

    async def test_a_later_step_is_not_blamed_for_an_earlier_one(self, trial: MakeTrial) -> None:
        one = trial("tail /dev/zero || true", "kill -9 $$", limits={"memory": "16m"})
        assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=137, out_of_memory=True)
        assert kills(one) == 0

    async def test_memory_has_no_swap_behind_it(self, trial: MakeTrial, engine: EngineAPI) -> None:
        one = trial("true", limits={"memory": "16m"})
        await one.runtime.create(one.spec)
        host = inspect_container(engine, one.key)["HostConfig"]
        assert host["Memory"] == host["MemorySwap"] == 16 * 1024**2

    async def test_processes_are_the_jobs_own(self, trial: MakeTrial) -> None:
        # The step's own shell is one of them; `sleep` another.
        enough = trial("sleep 0", limits={"pids": 2})
        assert await enough.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
        too_many = trial("sleep 0.2 & sleep 0.2 & sleep 0.2 & wait", limits={"pids": 2})
        assert (await too_many.execute()).exit_code != 0
        assert b"fork" in too_many.run.log.read_bytes()
        assert [refusals(enough), refusals(too_many) > 0] == [None, True], "counted only where the job has failed"

    async def test_a_user_that_is_not_root_is_told_too(self, runtime: Runtime, data: DataDirectory) -> None:
        image = user_image(require_engine())
        spec = make_spec(runtime, data, image, "tail /dev/zero; exit 3", limits={"memory": "16m"})
        one = Trial(runtime, spec)
        assert (await one.execute()).exit_code == 3
        assert kills(one) > 0

    async def test_a_job_that_used_up_its_processors(self, trial: MakeTrial) -> None:
        one = trial("i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; exit 1", limits={"cpus": 0.1})
        await one.execute()
        ended = one.run.read_exit()
        assert ended is not None
        assert ended.throttled_percent is not None
        assert ended.throttled_percent > 20

    async def test_cpus(self, trial: MakeTrial, engine: EngineAPI) -> None:
        half, many = trial("true", limits={"cpus": 0.5}), trial("true", limits={"cpus": 1000})
        for one in (half, many):
            await one.runtime.create(one.spec)
        assert inspect_container(engine, half.key)["HostConfig"]["NanoCpus"] == 500_000_000
        processors = json.loads(engine.request("GET", "/info"))["NCPU"]
        assert inspect_container(engine, many.key)["HostConfig"]["NanoCpus"] == processors * 10**9

    async def test_storage_that_cannot_limit_a_layer_after_all(
        self, trial: MakeTrial, engine: EngineAPI, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        info = json.loads(engine.request("GET", "/info"))
        below = dict(info["DriverStatus"])["Backing Filesystem"]
        if below == "xfs":
            pytest.skip("this engine's storage might be able to")
        monkeypatch.setattr(docker_engine, "_LIMITING_STORAGE", {("overlay2", below)})
        await runtime.open()
        assert await trial("true", limits={"workspace": "1g"}).execute() == EngineStatus(
            WorkloadPhase.EXITED, exit_code=0
        )

    async def test_a_limit_that_the_kernel_does_not_know(
        self, trial: MakeTrial, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(docker_engine, "_ENFORCING", {"pids": "NoSuchTrait", "memory": "Debug"})
        await runtime.close()
        await runtime.open()
        await runtime.create(trial("true", limits={"pids": 10}).spec)
        with pytest.raises(LimitUnenforceable, match=r"limits\.memory would do nothing"):
            await runtime.create(trial("true", limits={"memory": "16m", "pids": 10}).spec)

    async def test_a_limit_the_engine_refuses_is_told(self, trial: MakeTrial, runtime: Runtime) -> None:
        with pytest.raises(StartFault, match="memory limit"):
            await runtime.create(trial("true", limits={"memory": "1k"}).spec)
