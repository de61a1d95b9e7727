"""SIGTERM, grace, SIGKILL, and that nothing of a job survives it."""

import asyncio
import time

import pytest

from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.protocol import EngineStatus, Runtime
from tests.contracts.runtime_suite.bench import FOREVER, READY, MakeLifeline, MakeTrial, RuntimeBench
from tests.helpers.scripts import end_of
from tests.helpers.waiting import PATIENCE, eventually

DAEMONS = {
    "background": "sleep 600 >/dev/null 2>&1 &",
    "orphan": "( ( sleep 600 >/dev/null 2>&1 & ) & )",
    "session": "setsid sh -c 'sleep 600 & sleep 600' >/dev/null 2>&1 &",
    "deaf": "( trap '' TERM HUP INT; setsid sleep 600 >/dev/null 2>&1 & )",
}
"""Shell text that leaves processes behind; they hold open what the shell does."""


class Stopping(RuntimeBench):
    """A stop is heard, has a real grace, and leaves nothing."""

    async def test_sigterm_reaches_the_jobs_own_process(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial(f"trap 'exit 7' TERM; {READY}; {FOREVER}")
        await one.running()
        await runtime.stop(one.key, 30)
        assert (await runtime.look(one.key)).phase is WorkloadPhase.EXITED
        assert end_of(one.run) == (7, True)

    async def test_a_stopped_job_may_tidy_up_and_say_so(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial(f"trap 'sleep 0.3; echo tidy; exit 0' TERM; {READY}; {FOREVER}", "echo never")
        await one.running()
        await runtime.stop(one.key, 30)
        written = one.run.log.read_bytes()
        assert written.endswith(b"tidy\n")
        assert b"never" not in written

    async def test_a_step_that_is_stopped_is_the_last(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial(f"trap 'exit 0' TERM; {READY}; {FOREVER}", "echo never")
        await one.running()
        await runtime.stop(one.key, 30)
        assert b"never" not in one.run.log.read_bytes()
        assert end_of(one.run) == (143, True)

    async def test_a_stop_reaches_processes_in_sessions_of_their_own(self, trial: MakeTrial, runtime: Runtime) -> None:
        heard = "setsid sh -c \"trap 'echo heard; exit' TERM; : >ready; while :; do sleep 0.02; done\" & wait"
        one = trial(f"trap 'wait; exit 6' TERM; {heard}; wait")
        await one.running()
        await runtime.stop(one.key, 30)
        assert end_of(one.run) == (6, True)
        assert b"heard\n" in one.run.log.read_bytes()

    async def test_a_job_without_a_handler_ends_at_once(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial(f"{READY}; sleep 600")
        await one.running()
        await runtime.stop(one.key, 30)
        assert await one.phase() is WorkloadPhase.EXITED
        assert end_of(one.run) == (143, True)

    async def test_a_deaf_job_is_killed_after_its_grace(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial(f"trap '' TERM; {READY}; {FOREVER}")
        await one.running()
        begin = time.monotonic()
        await runtime.stop(one.key, 0.5)
        assert time.monotonic() - begin >= 0.5
        assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.EXITED, exit_code=137)
        assert one.run.read_exit() is None

    async def test_without_a_grace_nothing_gets_to_say_a_last_word(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial(f"trap 'echo heard' TERM; {READY}; {FOREVER}")
        await one.running()
        await runtime.stop(one.key, 0)
        assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.EXITED, exit_code=137)
        assert (one.run.read_exit(), one.run.log_size()) == (None, 0)

    async def test_a_workload_at_its_gate_stops_at_once(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial("echo ran")
        await one.to_gate()
        async with asyncio.timeout(PATIENCE):
            await runtime.stop(one.key, 600)
        assert await one.phase() is WorkloadPhase.EXITED
        assert not one.run.is_started()
        assert one.run.log_size() == 0

    async def test_a_stop_is_seen_through_by_a_later_controller(self, trial: MakeTrial, restarted: Runtime) -> None:
        one = trial(f"trap ': >heard' TERM; {READY}; {FOREVER}")
        await one.running()
        first = asyncio.create_task(one.runtime.stop(one.key, 600))
        await eventually((one.workspace / "heard").exists, "the job has heard SIGTERM")
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await restarted.stop(one.key, 0.1)
        assert await one.phase() is WorkloadPhase.EXITED

    @pytest.mark.parametrize("kind", DAEMONS)
    async def test_what_a_job_leaves_running_is_killed(
        self, trial: MakeTrial, lifelines: MakeLifeline, kind: str
    ) -> None:
        one = trial(f"exec 9>lifeline; {DAEMONS[kind]}\n{READY}; while [ ! -e go ]; do sleep 0.02; done; exit 4")
        lifeline = lifelines(one)
        await one.running()
        assert lifeline.held()
        (one.workspace / "go").touch()
        assert await one.end() == EngineStatus(WorkloadPhase.EXITED, exit_code=4)
        assert end_of(one.run) == (4, False)
        assert not lifeline.held()

    @pytest.mark.parametrize("kind", DAEMONS)
    async def test_a_running_workload_is_removed_whole(
        self, trial: MakeTrial, runtime: Runtime, lifelines: MakeLifeline, kind: str
    ) -> None:
        one = trial(f"trap '' TERM; exec 9>lifeline; {DAEMONS[kind]}\n{READY}; {FOREVER}")
        lifeline = lifelines(one)
        await one.running()
        async with asyncio.timeout(PATIENCE):
            await runtime.remove(one.key)
        assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.ABSENT)
        assert await runtime.list_workloads() == []
        assert not lifeline.held()
