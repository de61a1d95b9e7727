"""Controllers that come, go and die, and what they see of the workloads."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.protocol import EngineStatus, Runtime, WorkloadKey
from tests.contracts.runtime_suite import victim
from tests.contracts.runtime_suite.bench import FOREVER, READY, MakeTrial, RuntimeBench
from tests.helpers.waiting import PATIENCE

ROOT = Path(__file__).parents[3]


class Restarts(RuntimeBench):
    """A workload depends on no controller."""

    async def test_every_phase_is_listed(self, trial: MakeTrial, runtime: Runtime) -> None:
        before = time.time()
        created, waiting, ended = trial("exit 0"), trial("exit 0"), trial("exit 0")
        trial("never created")
        await runtime.create(created.spec)
        await waiting.to_gate()
        await ended.execute()
        listed = {s.key: s.created for s in await runtime.list_workloads()}
        assert listed.keys() == {created.key, waiting.key, ended.key}
        assert all(before - 2 <= instant.timestamp() <= time.time() + 2 for instant in listed.values())

    async def test_another_installation_sees_nothing(self, trial: MakeTrial, tmp_path: Path) -> None:
        one = trial("exit 0")
        await one.to_gate()
        elsewhere = DataDirectory(tmp_path / "elsewhere")
        elsewhere.create()
        other = await self.open_runtime(elsewhere)
        assert await other.list_workloads() == []
        await other.close()

    async def test_a_restarted_controller_drives_what_the_first_one_began(
        self, trial: MakeTrial, restarted: Runtime
    ) -> None:
        created, waiting, deaf = trial("exit 3"), trial("exit 4"), trial(f"trap '' TERM; {READY}; {FOREVER}")
        await created.runtime.create(created.spec)
        await waiting.to_gate()
        await deaf.running()
        assert {s.key for s in await restarted.list_workloads()} == {created.key, waiting.key, deaf.key}
        for one in (created, waiting, deaf):
            one.runtime = restarted
        assert await created.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=3)
        await waiting.through_gate()
        assert await waiting.end() == EngineStatus(WorkloadPhase.EXITED, exit_code=4)
        await restarted.stop(deaf.key, 0.1)
        assert await restarted.look(deaf.key) == EngineStatus(WorkloadPhase.EXITED, exit_code=137)

    async def test_what_another_controller_did_counts_once_the_first_has_forgotten(
        self, trial: MakeTrial, runtime: Runtime, restarted: Runtime
    ) -> None:
        begun, made_anew = trial("exit 3"), trial("exit 4")
        for one in (begun, made_anew):
            await runtime.create(one.spec)
            one.runtime = restarted
        await begun.to_gate()
        await restarted.remove(made_anew.key)
        await restarted.create(made_anew.spec)
        await runtime.begin_term()
        assert await runtime.look(begun.key) == EngineStatus(WorkloadPhase.RUNNING)
        await runtime.remove(made_anew.key)
        assert [s.key for s in await restarted.list_workloads()] == [begun.key]

    async def test_closing_leaves_workloads_running(
        self, trial: MakeTrial, data: DataDirectory, runtime: Runtime
    ) -> None:
        one = trial(f"{READY}; while [ ! -e go ]; do sleep 0.02; done; exit 5")
        leaving = await self.open_runtime(data)
        one.runtime = leaving
        await one.running()
        await leaving.close()
        one.runtime = runtime
        assert await one.phase() is WorkloadPhase.RUNNING
        (one.workspace / "go").touch()
        assert await one.end() == EngineStatus(WorkloadPhase.EXITED, exit_code=5)

    @pytest.mark.parametrize("call", ["create", "start", "stop", "remove"])
    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5])
    async def test_a_cancelled_call_may_be_repeated(
        self, trial: MakeTrial, runtime: Runtime, call: str, turns: int
    ) -> None:
        one = trial("echo ran >>ran")
        if call != "create":
            await runtime.create(one.spec)
        calls = {
            "create": lambda: runtime.create(one.spec),
            "start": lambda: runtime.start(one.key),
            "stop": lambda: runtime.stop(one.key, 0.1),
            "remove": lambda: runtime.remove(one.key),
        }
        task = asyncio.create_task(calls[call]())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await calls[call]()
        if call == "stop":
            await runtime.remove(one.key)
        assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
        assert (one.workspace / "ran").read_text() == "ran\n"
        assert [s.key for s in await runtime.list_workloads()] == [one.key]

    @pytest.mark.parametrize(
        "stage", ["created", "starting 0.000", "starting 0.005", "starting 0.030", "started", "open"]
    )
    async def test_a_controller_killed_at_any_point_has_begun_one_workload_at_most(
        self, trial: MakeTrial, runtime: Runtime, data: DataDirectory, stage: str
    ) -> None:
        one = trial("echo ran >>ran; exit 6")
        where = f"{type(self).__module__}:{type(self).__qualname__}"
        controller = await asyncio.create_subprocess_exec(
            sys.executable, "-m", victim.__name__, where, str(data.path), one.key.job_id, self.image, stage, cwd=ROOT
        )
        assert await controller.wait() == -signal.SIGKILL
        assert await one.phase() in ((WorkloadPhase.CREATED,) if stage == "created" else tuple(WorkloadPhase))
        await runtime.create(one.spec)
        await runtime.start(one.key)
        await one.through_gate()
        assert await one.end() == EngineStatus(WorkloadPhase.EXITED, exit_code=6)
        assert (one.workspace / "ran").read_text() == "ran\n"
        assert [s.key for s in await runtime.list_workloads()] == [one.key]

    async def test_an_end_wakes_whoever_listens(self, trial: MakeTrial, runtime: Runtime) -> None:
        async def heard(events: AsyncIterator[WorkloadKey]) -> None:
            async for key in events:
                if (await runtime.look(key)).phase is WorkloadPhase.EXITED:
                    return

        async with aclosing(runtime.events()) as events, asyncio.timeout(PATIENCE):
            listening = asyncio.create_task(heard(events))
            while not listening.done():  # Nothing tells when a listener is in place: the first end may be missed.
                await trial("exit 0").execute()
            await listening
