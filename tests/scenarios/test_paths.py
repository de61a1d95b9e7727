"""The path of a job to its end: each milestone has its time, and the end comes once nothing is written any more."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from ci_common.jobs import Conclusion, State
from ci_common.spec import Retry
from ci_common.times import Milestone, in_order
from ci_controller.policy import WorkloadPhase
from ci_controller.run_directory import preparation
from ci_controller.runtime.protocol import EngineStatus, WorkloadKey
from tests.helpers.installation import Installation, completed, nothing_left, reached
from tests.helpers.waiting import eventually
from tests.scenarios.invariants import is_cleared

UNTIL_TOLD = "echo up; while [ ! -e go ]; do sleep 0.05; done; exit 4"
QUEUE = (Milestone.SEEN, Milestone.STARTING)
BEGIN = (*QUEUE, Milestone.CREATED, Milestone.AT_GATE, Milestone.RUNNING, Milestone.GATE_OPENED)
END = (Milestone.EXIT_SEEN, Milestone.COLLECTED, Milestone.COMPLETING)
ALL = (*BEGIN, Milestone.FIRST_OUTPUT, *END)


def passed(times: Mapping[str, int]) -> tuple[str, ...]:
    """Return the milestones in the order of the path, which is that of their times."""
    milestones = tuple(in_order(times))
    assert [instant for _, instant in milestones] == sorted(times.values())
    return tuple(name for name, _ in milestones)


async def test_every_milestone_of_every_attempt_has_its_time(installation: Installation) -> None:
    job = await installation.submit("echo out; exit 3", retry=Retry(max_attempts=2, backoff=0.1))
    async with installation.storage() as storage, installation.controller():
        ended = await completed(storage, job.id)
        await eventually(lambda: is_cleared(storage, job.id), "it is noted that everything has gone")
        assert passed((await storage.jobs.get(job.id)).trace) == (*ALL, Milestone.COMPLETED, Milestone.CLEARED)
    assert tuple(ended.arrival) == (Milestone.PERSISTING,)
    first, last = ended.earlier_attempts[0].trace, ended.trace
    assert passed(first) == passed(last)[: len(ALL)] == ALL, "the last one may have been cleared by then"
    assert max(ended.arrival.values()) <= min(first.values())
    assert max(first.values()) <= min(last.values())


async def test_what_a_controller_knew_that_died_is_read_from_files_or_missing(installation: Installation) -> None:
    job = await installation.submit(UNTIL_TOLD)
    async with installation.storage() as storage:
        crashing = installation.start_crashing_controller("no_such_call/1/before")
        times = installation.data.run(job.id, 1).times
        await eventually(lambda: times.exists() and times.stat().st_size, "the output is noted")
        crashing.kill()
        await asyncio.to_thread(crashing.wait, 60)
        async with installation.controller():
            (installation.data.run(job.id, 1).workspace / "go").touch()
            ended = await completed(storage, job.id)
    assert passed(ended.trace) == tuple(milestone for milestone in ALL if milestone is not Milestone.RUNNING)


async def test_what_a_job_leaves_behind_writes_nothing_after_its_end(installation: Installation) -> None:
    job = await installation.submit("for i in 1 2 3; do (while :; do echo noise; done) & done; echo end; exit 0")
    async with installation.storage() as storage, installation.controller() as parts:
        ended = await completed(storage, job.id)
        assert ended.conclusion is Conclusion.SUCCEEDED
        await nothing_left(parts.runtimes[installation.runtime])
        assert len(installation.log_of(ended)) == ended.log_bytes


class SlowToSay:
    """A runtime that goes on saying that what has exited is running, until it is told to be honest."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.honest = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    async def look(self, key: WorkloadKey) -> EngineStatus:
        workload: EngineStatus = await self._runtime.look(key)
        lies = workload.phase is WorkloadPhase.EXITED and not self.honest
        return EngineStatus(WorkloadPhase.RUNNING) if lies else workload


@pytest.mark.parametrize(("shell", "code"), [("echo x", 0), ("echo x; exit 3", 3)])
async def test_the_engine_is_not_waited_for_where_the_script_knows(
    installation: Installation, shell: str, code: int
) -> None:
    async with installation.storage() as storage, installation.runtime_of_its_own() as runtime:
        slow = SlowToSay(runtime)
        job = await installation.submit(shell)
        async with installation.controller(runtimes={"docker": slow, "process": slow, installation.runtime: slow}):
            if installation.runtime == "process":
                await eventually(lambda: installation.data.run(job.id, 1).read_exit() is not None, "it has ended")
                assert (await reached(storage, job.id, State.RUNNING)).state is State.RUNNING, "more may be written"
                slow.honest = True
            assert (await completed(storage, job.id)).exit_code == code
            slow.honest = True
            await nothing_left(runtime)


async def test_the_engine_is_waited_for_where_the_script_does_not_know(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where nothing tells what the kernel killed: the script is let go then, though no verdict is out."""
    monkeypatch.setattr(preparation, "GATE_SCRIPT", preparation.GATE_SCRIPT.replace(b"/sys/fs/cgroup", b"/nowhere"))
    job = await installation.submit("echo x; exit 3")
    async with installation.storage() as storage, installation.controller():
        ended = await completed(storage, job.id)
    assert (ended.conclusion, ended.exit_code) == (Conclusion.FAILED, 3)
