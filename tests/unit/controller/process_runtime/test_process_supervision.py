"""Who takes charge of a workload, and what becomes of one whose supervisor has gone."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ci_common.run_directory.exits import ExitRecord
from ci_common.run_directory.layout import DataDirectory
from ci_common.run_directory.output import read_steps
from ci_common.runtime_faults import RuntimeUnavailable, StartFault
from ci_common.settings import Settings
from ci_common.system.processes import start_time_of, this_process
from ci_common.times import utc_now
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.process import runtime as process_runtime
from ci_controller.runtime.process import supervisor
from ci_controller.runtime.process.runtime import ProcessRuntime
from ci_controller.runtime.protocol import EngineStatus
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.contracts.runtime_suite.trial import Lifeline
from tests.helpers.installation import forge, identity, record_of
from tests.helpers.scripts import end_of
from tests.helpers.waiting import eventually

ROOT = Path(__file__).parents[4]


async def test_a_second_supervisor_refuses(trial: MakeTrial, data: DataDirectory) -> None:
    one = trial("echo ran >>ran")
    await one.to_gate()
    program = [sys.executable, "-I", "-S", supervisor.__file__, str(ROOT)]
    program += [str(record_of(one, data).path), str(one.run.path), "1024"]
    assert subprocess.run(program, check=False).returncode == supervisor.BUSY
    await one.through_gate()
    await one.end()
    assert subprocess.run(program, check=False).returncode == supervisor.BUSY
    assert (one.workspace / "ran").read_text() == "ran\n"


async def test_a_supervisor_about_to_take_charge_is_waited_for(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory
) -> None:
    one = trial("exit 0")
    record = record_of(one, data)
    await runtime.create(one.spec)
    with record.locked() as free:
        assert free
        starting = asyncio.create_task(runtime.start(one.key))
        done, _ = await asyncio.wait({starting}, timeout=0.3)
        assert not done
        assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.CREATED)
        forge(record, "supervisor", this_process())
        await starting
    (record.path / "supervisor").unlink()


async def test_a_lock_that_nobody_explains_fails_the_start(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_runtime, "TAKE_OVER_SECONDS", 0.05)
    one = trial("exit 0")
    await runtime.create(one.spec)
    with record_of(one, data).locked() as free:
        assert free
        with pytest.raises(StartFault, match="lock"):
            await runtime.start(one.key)


async def test_a_supervisor_that_cannot_start_says_why(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trial("exit 0")
    await runtime.create(one.spec)
    (record_of(one, data).path / "supervisor.new").mkdir()
    with pytest.raises(StartFault, match=r"supervisor\.new"):
        await runtime.start(one.key)
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.CREATED)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(StartFault, match="/no/such/python"):
        await runtime.start(one.key)


async def test_a_job_whose_supervisor_was_killed_goes_on_to_its_result(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory
) -> None:
    one = trial(": >ready; while [ ! -e go ]; do sleep 0.01; done; exit 5")
    await one.running()
    os.kill(identity(record_of(one, data), "supervisor").pid, signal.SIGKILL)
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.RUNNING)
    (one.workspace / "go").touch()
    assert await one.end() == EngineStatus(WorkloadPhase.EXITED)
    assert end_of(one.run) == (5, False)


@pytest.mark.parametrize("text", ["trap 'exit 6' TERM", "trap '' TERM"])
async def test_a_job_whose_supervisor_was_killed_can_be_stopped(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory, text: str
) -> None:
    one = trial(f"{text}; : >ready; while :; do sleep 0.02; done")
    await one.running()
    supervisor = identity(record_of(one, data), "supervisor")
    os.kill(supervisor.pid, signal.SIGKILL)
    await eventually(lambda: not supervisor.is_alive(), "the supervisor has gone")
    await runtime.stop(one.key, 0.3)
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.EXITED)
    assert end_of(one.run) == ((6, True) if "6" in text else None)


async def test_what_a_job_leaves_whose_supervisor_was_killed_is_removed_with_it(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory
) -> None:
    one = trial("(trap '' HUP INT TERM; while :; do sleep 0.05; done) & echo $! >left; : >ready; sleep 0.5")
    await one.running()
    killed = identity(record_of(one, data), "supervisor")
    os.kill(killed.pid, signal.SIGKILL)
    assert await one.end() == EngineStatus(WorkloadPhase.EXITED)
    left = int((one.workspace / "left").read_text())
    assert start_time_of(left) is not None
    await runtime.remove(one.key)
    await eventually(lambda: start_time_of(left) is None, "it is killed")


async def test_the_end_of_a_script_that_the_job_kills_is_written_for_it(trial: MakeTrial) -> None:
    one = trial("echo one", "kill -9 $PPID; sleep 60", "echo never")
    assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=137)
    assert one.run.read_exit() == ExitRecord(137, terminated=False, killed=True)
    steps = read_steps(one.run, ("a", "b", "c"), utc_now())
    assert [step.exit_code for step in steps] == [0, 137]
    assert one.run.log.read_bytes() == b"one\n"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
async def test_what_a_job_has_put_in_the_way_of_its_end_is_left_alone(
    trial: MakeTrial, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "other").write_text("untouched")
    make = {"link": f"ln -s {tmp_path}/other", "fifo": "mkfifo", "directory": "mkdir"}[kind]
    one = trial(f"rm -f ../steps.jsonl; {make} ../exit; {make} ../steps.jsonl; kill -9 $PPID; sleep 60")
    assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=137)
    assert one.run.read_exit() is None
    assert (tmp_path / "other").read_text() == "untouched"


async def test_a_frozen_supervisor_is_woken_for_a_stop(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory
) -> None:
    one = trial("trap 'exit 6' TERM; : >ready; while :; do sleep 0.02; done")
    await one.running()
    os.kill(identity(record_of(one, data), "supervisor").pid, signal.SIGSTOP)
    await runtime.stop(one.key, 20)
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.EXITED, exit_code=6)


async def test_many_generations_of_daemons_are_killed(trial: MakeTrial) -> None:
    daemon = "for s in 1 2 3 4 5; do ( setsid sh -c 'sleep 600 & ( sleep 600 & setsid sleep 600 & )' & ); done"
    one = trial(f"exec 9>lifeline; {daemon}; : >ready; sleep 0.1")
    lifeline = Lifeline(one.workspace / "lifeline")
    assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
    assert not lifeline.held()
    lifeline.close()


async def test_a_removal_that_a_crash_cut_short_is_finished(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory
) -> None:
    one = trial("exec 9>lifeline; : >ready; sleep 600")
    lifeline = Lifeline(one.workspace / "lifeline")
    await one.running()
    record = record_of(one, data)
    record.path.rename(record.path.with_name(f".removed-{record.path.name}-1-0"))
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.ABSENT)
    assert await runtime.list_workloads() == []
    assert lifeline.held()
    again = ProcessRuntime(Settings(data_dir=data.path), data)
    await again.begin_term()
    await again.close()
    assert not lifeline.held()
    lifeline.close()
    assert {entry.name for entry in data.processes.iterdir()} <= {"ended"}


async def test_what_else_lies_among_the_records_is_left_alone(runtime: ProcessRuntime, data: DataDirectory) -> None:
    (data.processes / "stranger").mkdir()
    (data.processes / "x.y").mkdir()
    (data.processes / "x.1").mkdir()
    assert await runtime.list_workloads() == []


async def test_the_runtime_says_when_it_cannot_work(
    runtime: ProcessRuntime, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await runtime.open()
    monkeypatch.setattr(supervisor, "SHELL", "/no/such/shell")
    with pytest.raises(RuntimeUnavailable, match="/no/such/shell"):
        await runtime.open()
    monkeypatch.undo()
    data.processes.rename(data.processes.with_name("elsewhere"))
    with pytest.raises(RuntimeUnavailable):
        await runtime.list_workloads()
    data.processes.with_name("elsewhere").rename(data.processes)


def test_a_supervisor_imports_little() -> None:
    """A job waits for that: with one of these it takes several times as long."""
    look = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import ci_common.system.processes, {supervisor.__name__}"
    program = [sys.executable, "-I", "-S", "-c", f"{look}; print(*sys.modules)"]
    loaded = subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()
    assert supervisor.__name__ in loaded
    assert not {"asyncio", "json", "logging", "pydantic", "subprocess", "ci_common.settings"} & {*loaded}
