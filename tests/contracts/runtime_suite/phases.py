"""Phases, exit statuses, and that everything may be repeated."""

import asyncio

import pytest

from ci_common.jobs import new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_controller.policy import WorkloadPhase
from ci_controller.run_directory.preparation import opened_gate
from ci_controller.runtime.protocol import EngineStatus, Runtime, WorkloadKey
from tests.contracts.runtime_suite.bench import MakeTrial, RuntimeBench
from tests.helpers.scripts import end_of
from tests.helpers.waiting import eventually


class Phases(RuntimeBench):
    """Each phase follows from the one before, and no call does anything twice."""

    async def test_a_workload_goes_through_its_phases(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial("exit 0")
        assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.ABSENT)
        await runtime.create(one.spec)
        assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.CREATED)
        await runtime.start(one.key)
        await eventually(one.run.is_waiting, "the script is at its gate")
        assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.RUNNING)
        await one.through_gate()
        assert await one.end() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
        await runtime.remove(one.key)
        assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.ABSENT)

    async def test_nothing_runs_before_the_gate_opens(self, trial: MakeTrial) -> None:
        one = trial("echo ran")
        await one.to_gate()
        assert not one.run.is_started()
        assert one.run.log_size() == 0
        assert one.run.read_exit() is None
        await one.through_gate()
        await one.end()
        assert one.run.log.read_bytes() == b"ran\n"

    async def test_a_gate_that_opened_before_the_script_came_is_open(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial("echo ran")
        await runtime.create(one.spec)
        with opened_gate(one.run):
            await runtime.start(one.key)
            await eventually(one.run.is_started, "the script is through its gate")
        assert await one.end() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)

    @pytest.mark.parametrize("code", [0, 1, 7, 255])
    async def test_an_exit_code_is_in_the_exit_file_and_in_the_workload(self, trial: MakeTrial, code: int) -> None:
        one = trial(f"exit {code}")
        assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=code)
        assert end_of(one.run) == (code, False)

    async def test_a_command_that_is_not_there_ends_with_127(self, trial: MakeTrial) -> None:
        one = trial("no-such-program")
        assert (await one.execute()).exit_code == 127
        assert end_of(one.run) == (127, False)
        assert b"no-such-program" in one.run.log.read_bytes()

    async def test_a_job_that_kills_itself_has_a_result(self, trial: MakeTrial) -> None:
        one = trial("kill -9 $$")
        assert (await one.execute()).exit_code == 137
        assert end_of(one.run) == (137, False)

    async def test_creating_twice_creates_one(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial("exit 0")
        await runtime.create(one.spec)
        await runtime.create(one.spec)
        assert [s.key for s in await runtime.list_workloads()] == [one.key]

    async def test_starting_twice_starts_one(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial("echo ran >>ran")
        await one.to_gate()
        await runtime.start(one.key)
        await one.through_gate()
        await one.end()
        assert (one.workspace / "ran").read_text() == "ran\n"

    async def test_starting_at_once_starts_one(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial("echo ran >>ran")
        await runtime.create(one.spec)
        await asyncio.gather(*(runtime.start(one.key) for _ in range(4)))
        await one.through_gate()
        assert await one.end() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
        assert (one.workspace / "ran").read_text() == "ran\n"

    async def test_what_has_exited_is_neither_created_nor_started_again(
        self, trial: MakeTrial, runtime: Runtime
    ) -> None:
        one = trial("echo ran >>ran; exit 3")
        ended = await one.execute()
        await runtime.create(one.spec)
        await runtime.start(one.key)
        await runtime.stop(one.key, 0.1)
        assert await runtime.look(one.key) == ended
        assert (one.workspace / "ran").read_text() == "ran\n"

    async def test_what_is_absent_is_left_alone(self, runtime: Runtime) -> None:
        key = WorkloadKey(new_job_id(), 1)
        await runtime.stop(key, 0.1)
        await runtime.remove(key)
        await runtime.start(key)
        assert await runtime.look(key) == EngineStatus(WorkloadPhase.ABSENT)

    async def test_a_removed_workload_may_be_created_again(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial("echo ran >>ran")
        await runtime.create(one.spec)
        await runtime.remove(one.key)
        await runtime.remove(one.key)
        assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
        assert (one.workspace / "ran").read_text() == "ran\n"

    async def test_only_what_has_exited_is_removed_if_only_that_is_asked_for(
        self, trial: MakeTrial, runtime: Runtime
    ) -> None:
        created, waiting, exited = trial("exit 0"), trial("exit 0"), trial("exit 0")
        await runtime.create(created.spec)
        await waiting.to_gate()
        await exited.to_gate()
        await runtime.stop(exited.key, 10)
        for one in (created, waiting, exited, exited):
            await runtime.remove(one.key, only_exited=True)
        assert [await one.phase() for one in (created, waiting, exited)] == [
            WorkloadPhase.CREATED,
            WorkloadPhase.RUNNING,
            WorkloadPhase.ABSENT,
        ]

    async def test_a_new_term_hits_no_workload(self, trial: MakeTrial, runtime: Runtime) -> None:
        created, waiting, exited = trial("exit 0"), trial("exit 0"), trial("exit 0")
        await runtime.create(created.spec)
        await waiting.to_gate()
        await exited.execute()
        await runtime.begin_term()
        assert [await one.phase() for one in (created, waiting, exited)] == [
            WorkloadPhase.CREATED,
            WorkloadPhase.RUNNING,
            WorkloadPhase.EXITED,
        ]

    async def test_opening_and_closing_may_be_repeated(self, data: DataDirectory) -> None:
        runtime = await self.open_runtime(data)
        await runtime.open()
        await runtime.open()
        await runtime.close()
        await runtime.close()

    async def test_an_image_that_was_pulled_is_there(self, runtime: Runtime) -> None:
        assert await runtime.has_image(self.image)
