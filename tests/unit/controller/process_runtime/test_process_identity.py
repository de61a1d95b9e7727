"""Whose process is meant: a pid says nothing without its start time, its boot and its namespace."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.system.processes import ProcessIdentity, identity_of, this_process
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.process.runtime import ProcessRuntime
from ci_controller.runtime.protocol import EngineStatus
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.helpers.installation import forge, identity, record_of
from tests.helpers.waiting import PATIENCE


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is none of ours, and whose pid a record names nevertheless."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True) as bystander:
        yield bystander
        bystander.kill()


def another_boot(here: ProcessIdentity) -> ProcessIdentity:
    return ProcessIdentity(here.pid, here.start, f"00000000-0000-0000-0000-000000000000/{here.scope.partition('/')[2]}")


def another_start(here: ProcessIdentity) -> ProcessIdentity:
    return ProcessIdentity(here.pid, str(int(here.start) - 1), here.scope)


@pytest.mark.parametrize("name", ["supervisor", "script"])
@pytest.mark.parametrize("other", [another_boot, another_start])
async def test_a_pid_that_was_used_again_is_nobody_of_ours(
    trial: MakeTrial,
    runtime: ProcessRuntime,
    data: DataDirectory,
    bystander: "subprocess.Popen[bytes]",
    name: str,
    other: Callable[[ProcessIdentity], ProcessIdentity],
) -> None:
    one = trial("exit 0")
    here = identity_of(bystander.pid)
    assert here is not None
    forge(record_of(one, data), "supervisor", other(here))
    forge(record_of(one, data), name, other(here))
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.EXITED)
    record_of(one, data).send(signal.SIGKILL)
    await runtime.stop(one.key, 0)
    await runtime.remove(one.key)
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.ABSENT)
    # A signal that had been sent to it before would have come before this one.
    bystander.send_signal(signal.SIGUSR2)
    assert bystander.wait(PATIENCE) == -signal.SIGUSR2


async def test_the_very_same_process_is_ours(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory, bystander: "subprocess.Popen[bytes]"
) -> None:
    one = trial("exit 0")
    here = identity_of(bystander.pid)
    assert here is not None
    forge(record_of(one, data), "supervisor", here)
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.RUNNING)
    await runtime.stop(one.key, 20)
    assert bystander.wait(PATIENCE) == -signal.SIGTERM
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.EXITED)


async def test_what_runs_in_another_pid_namespace_is_seen_and_not_signalled(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory
) -> None:
    one = trial("exit 0")
    record = record_of(one, data)
    mine = this_process()
    forge(record, "supervisor", ProcessIdentity(mine.pid, mine.start, f"{mine.scope}-of-another-container"))
    with record.locked() as free:
        assert free
        assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.RUNNING)
        with pytest.raises(RuntimeUnavailable, match="another pid namespace"):
            await runtime.stop(one.key, 0)
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.EXITED)


async def test_a_record_that_cannot_be_read_tells_nothing(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory
) -> None:
    one = trial("exit 0")
    record = record_of(one, data)
    record.create()
    (record.path / "supervisor").mkdir()
    with pytest.raises(RuntimeUnavailable):
        await runtime.look(one.key)
    (record.path / "supervisor").rmdir()


async def test_a_record_cut_short_by_a_crash_of_the_machine_has_exited(
    trial: MakeTrial, runtime: ProcessRuntime, data: DataDirectory
) -> None:
    one = trial("exit 0")
    record = record_of(one, data)
    record.create()
    for name in ("supervisor", "script", "exit"):
        (record.path / name).touch()
    assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.EXITED)


async def test_a_supervisor_tells_its_identity_as_others_do(trial: MakeTrial, data: DataDirectory) -> None:
    one = trial("exit 0")
    await one.to_gate()
    for name in ("supervisor", "script"):
        written = identity(record_of(one, data), name)
        assert written == identity_of(written.pid)
        assert json.loads(written.to_json()) == json.loads((record_of(one, data).path / name).read_text())
