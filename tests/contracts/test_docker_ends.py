"""What a script in a container says of its end: that it is the last of the job's processes, where it is."""

import asyncio
import json

import pytest

from ci_common.jobs import Job, State
from ci_common.run_directory.exits import ExitRecord
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.watch import FileWatcher
from ci_common.times import utc_now
from ci_controller.policy import WorkloadPhase
from ci_controller.run_directory.preparation import opened_gate
from ci_controller.runtime.protocol import EngineStatus, LocalRuntime, Runtime
from tests.contracts.docker_bench import DockerBench, container_name
from tests.contracts.local_execution import execution_on
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.contracts.runtime_suite.trial import Trial, make_spec
from tests.engine.api import EngineAPI, require_engine
from tests.engine.images import user_image
from tests.helpers.waiting import PATIENCE, eventually

FAMILIES = f"f() {{ echo $1; [ $1 -gt 20000 ] || f $(($1 + 1)) & }}; {'f 0; ' * 20}"
"""Each process makes another one and ends: a listing has missed the next of some."""
MANY = "for i in 1 2 3 4 5 6 7 8; do (trap '' TERM; while :; do echo noise; done) & done"
DETACHED = "(trap '' HUP; while :; do echo noise; done) >/dev/stderr 2>&1 &"


async def ended(one: Trial) -> tuple[ExitRecord, int]:
    """Return the record of a trial as soon as there is one, and the log's length then."""
    record = await eventually(one.run.read_exit, "the script has ended")
    return record, one.run.log_size()


def job_of(one: Trial) -> Job:
    """Return the row of a trial as its job runs."""
    plan = one.spec.plan.model_dump(mode="json")
    return Job(id=one.key.job_id, type="container", submit_time=utc_now(), state=State.RUNNING, plan=plan)


class TestEnds(DockerBench):
    @pytest.mark.parametrize("left", ["true", MANY, FAMILIES, DETACHED], ids=["none", "many", "families", "detached"])
    async def test_nothing_is_written_once_the_script_says_it_is_the_last(self, trial: MakeTrial, left: str) -> None:
        one = trial(f"{left}\nexit 3")
        await one.to_gate()
        await one.through_gate()
        record, size = await ended(one)
        assert (record.code, record.last, record.oom_kills) == (3, True, 0)
        await one.end()
        assert one.run.log_size() == size

    async def test_a_script_that_is_the_last_stays_until_it_is_let_go(
        self, trial: MakeTrial, runtime: Runtime, data: DataDirectory
    ) -> None:
        one = trial("exit 3")
        await one.to_gate()
        await one.through_gate()
        await ended(one)
        await trial("exit 0").execute()
        assert await one.phase() is WorkloadPhase.RUNNING, "as long as another one takes from its beginning to its end"
        with opened_gate(one.run):
            assert await one.exited() == EngineStatus(WorkloadPhase.EXITED, exit_code=3)

    async def test_a_script_that_could_not_write_its_end_stays_for_nobody(
        self, trial: MakeTrial, runtime: Runtime
    ) -> None:
        one = trial("mkdir ../exit; exit 3")
        await one.to_gate()
        await one.through_gate()
        assert await one.exited() == EngineStatus(WorkloadPhase.EXITED, exit_code=3)

    @pytest.mark.parametrize("left", ["", "rm ../gate; ", "rm ../gate; : >../gate; "], ids=["whole", "gone", "other"])
    async def test_a_stop_waits_for_nothing_that_stays(
        self, trial: MakeTrial, runtime: LocalRuntime, data: DataDirectory, left: str
    ) -> None:
        """Whether the job has ended by itself, as here, or by the stop."""
        one = trial(f"{left}exit 3")
        await one.to_gate()
        await one.through_gate()
        await ended(one)
        async with FileWatcher() as watcher, asyncio.timeout(PATIENCE):
            await execution_on(runtime, data, watcher).stop(job_of(one), 600)
        assert await one.phase() is WorkloadPhase.EXITED

    async def test_a_signal_does_not_end_the_waiting_for_the_console(
        self, runtime: Runtime, data: DataDirectory, engine: EngineAPI
    ) -> None:
        one = await self.beside_root(
            runtime,
            data,
            engine,
            "exec 3>/dev/stderr; : >/ci/workspace/up; until [ -e /ci/down ]; do :; done; echo tail >&3",
        )
        await eventually(lambda: b'"end"' in one.run.steps.read_bytes(), "the step has ended")
        for _ in range(20):
            engine.request("POST", f"/containers/{container_name(one.key)}/kill", {"signal": "TERM"})
        assert one.run.read_exit() is None
        (one.run.path / "down").touch()
        record, _ = await ended(one)
        assert (record.code, one.run.log.read_bytes()) == (5, b"tail\n")
        await one.end()

    async def test_a_process_that_cannot_be_killed_is_not_denied(
        self, runtime: Runtime, data: DataDirectory, engine: EngineAPI
    ) -> None:
        one = await self.beside_root(
            runtime, data, engine, ": >/ci/workspace/up; while :; do echo more >>/ci/log; done"
        )
        record, _ = await ended(one)
        assert (record.code, record.last) == (5, False)
        await one.end()

    async def beside_root(self, runtime: Runtime, data: DataDirectory, engine: EngineAPI, text: str) -> Trial:
        """Return a job of an ordinary user, which ends with 5 once a process of root's beside it has made `up`."""
        waiting = "until [ -e up ]; do sleep 0.02; done; exit 5"
        one = Trial(runtime, make_spec(runtime, data, user_image(require_engine()), waiting))
        await one.to_gate()
        await one.through_gate()
        body = {"Cmd": ["/bin/sh", "-c", text], "User": "0"}
        made = json.loads(engine.request("POST", f"/containers/{container_name(one.key)}/exec", body=body))
        engine.request("POST", f"/exec/{made['Id']}/start", body={"Detach": True})
        return one
