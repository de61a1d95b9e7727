"""A controller that may not lead any more changes neither a workload nor a file of a job."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import create_autospec

import pytest

from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import LeadershipLost
from ci_common.jobs import Job, State, new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_common.system.disk import Ballast
from ci_common.times import utc_now
from ci_controller.execution.workload_execution import WorkloadExecution
from ci_controller.run_directory import preparation
from ci_controller.runtime.guarded import GuardedRuntime
from ci_controller.runtime.protocol import Runtime
from tests.helpers.service import zipped
from tests.helpers.waiting import PATIENCE

CHANGES_NOTHING = {
    *("open", "close", "ping", "has_image", "pull", "base_directory", "environment", "setup", "kind_of", "look"),
    *("list_workloads", "events", "forget"),
}
PLAN = ExecutionPlan(image="i", steps=(PlannedStep(name="one", shell="true"),), timeout=60)


class Say:
    """Whether the controller may lead."""

    leads = False

    def check(self) -> None:
        if not self.leads:
            raise LeadershipLost("somebody else leads")


def played_runtime() -> Any:
    runtime = create_autospec(Runtime, instance=True)
    runtime.name, runtime.isolated, runtime.has_console = "played", True, False
    return runtime


def methods_of(protocol: type) -> dict[str, Any]:
    return {name: method for name, method in inspect.getmembers(protocol, inspect.isfunction) if name[0] != "_"}


@pytest.mark.parametrize("name", sorted(methods_of(Runtime).keys() - CHANGES_NOTHING))
async def test_nothing_that_changes_a_workload_gets_through(name: str) -> None:
    runtime = played_runtime()
    method = getattr(GuardedRuntime(runtime, Say().check), name)
    with pytest.raises(LeadershipLost):
        await method(*(None for _ in inspect.signature(method).parameters))
    getattr(runtime, name).assert_not_called()


class Place:
    """The execution of one job that took a waiting workload, by a controller that may not lead."""

    def __init__(self, path: Path) -> None:
        self.data = DataDirectory(path)
        self.data.create()
        self.runtime = played_runtime()
        self.say = Say()
        limits = UnpackLimits(bytes=1000, members=10, ratio=10)
        self.execution = WorkloadExecution(
            cast(Runtime, self.runtime),
            self.data,
            utc_now,
            limits=limits,
            check=self.say.check,
            ballast=Ballast(self.data.path / "db"),
        )
        self.job = Job(
            id=new_job_id(),
            type="container",
            submit_time=utc_now(),
            state=State.RUNNING,
            plan=PLAN.model_dump(mode="json"),
            workload="waiting",
        )
        self.cold = replace(self.job, workload=None)
        self.second = replace(self.cold, attempt=2, has_upload=True)
        self.data.upload(self.job.id).parent.mkdir()
        self.data.upload(self.job.id).write_bytes(zipped({"a.txt": "a"}))
        preparation.prepare(self.data.run(self.job.id, 1), b"true", has_console=False)
        preparation.prepare_gate(self.data.waiting_run("waiting"), has_console=False)

    def files(self) -> dict[Path, tuple[int, int]]:
        return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in self.data.path.rglob("*")}


async def entered(context: AbstractContextManager[None]) -> None:
    with context:
        pass


CHANGES: dict[str, Callable[[Place], Awaitable[object]]] = {
    "create": lambda place: place.execution.create(place.cold),
    "create anew": lambda place: place.execution.create(place.second),
    "move_in": lambda place: place.execution.move_in(place.job),
    "move_out": lambda place: place.execution.move_out(place.job),
    "start": lambda place: place.execution.start(place.cold),
    "open_gate": lambda place: place.execution.open_gate(place.cold),
    "stop": lambda place: place.execution.stop(place.cold, 1),
    "collect": lambda place: place.execution.collect(place.cold),
    "letting_go": lambda place: entered(place.execution.letting_go(place.cold)),
    "discard": lambda place: place.execution.discard(place.cold),
    "clear": lambda place: place.execution.clear(place.cold, has_ended=True),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_no_step_touches_the_files_of_a_job(tmp_path: Path, change: str) -> None:
    place = Place(tmp_path)
    before = place.files()
    with pytest.raises(LeadershipLost):
        async with asyncio.timeout(PATIENCE):
            await CHANGES[change](place)
    assert place.files() == before
    changing = [call for call in place.runtime.method_calls if call[0] not in CHANGES_NOTHING]
    assert changing == []


async def test_the_mark_at_a_gate_stays_where_the_lease_ends_meanwhile(tmp_path: Path) -> None:
    place = Place(tmp_path)
    mark = place.data.run(place.job.id, 1).waiting
    mark.touch()
    place.say.leads = True

    def discarded(_: object) -> None:
        place.say.leads = False

    place.runtime.discard.side_effect = discarded
    with pytest.raises(LeadershipLost):
        await place.execution.discard(place.cold)
    assert mark.exists()


@pytest.mark.parametrize(("change", "file_work"), [("create", "prepare"), ("clear", "clear")])
async def test_a_term_is_not_over_while_it_changes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, file_work: str
) -> None:
    """Whoever leads next, perhaps the same process, finds all that has been changed."""
    place = Place(tmp_path)
    place.say.leads = True
    begun, go_on = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> list[Path]:
        begun.set()
        assert go_on.wait(PATIENCE)
        return []

    monkeypatch.setattr(preparation, file_work, slow)
    task = asyncio.ensure_future(CHANGES[change](place))
    await asyncio.to_thread(begun.wait, PATIENCE)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0.1)
    assert not done
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
