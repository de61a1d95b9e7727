"""A controller that may not lead any more changes neither a workload nor a file of a job."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import create_autospec

import pytest

from ci_common.errors import LeadershipLost
from ci_common.jobs import Job, State, new_job_id
from ci_common.run_directory import tickets
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_common.system.disk import Ballast
from ci_common.system.watch import FileWatcher
from ci_common.times import utc_now
from ci_controller.execution.protocol import Scope
from ci_controller.execution.workloads import WorkloadExecution
from ci_controller.job_writer import JobWriter
from ci_controller.policy import WorkloadPhase
from ci_controller.pool import Pool
from ci_controller.run_directory import preparation
from ci_controller.runtime.guarding import guarded
from ci_controller.runtime.protocol import EngineStatus, LocalRuntime, Runtime, Surroundings
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.helpers.service import zipped
from tests.helpers.waiting import PATIENCE

CHANGES_NOTHING = {
    *("open", "close", "has_image", "pull", "describe", "profile_of", "look", "list_workloads", "events"),
}
PLAN = ExecutionPlan(image="i", steps=(PlannedStep(name="one", shell="true"),), timeout=60)


class Say:
    """Whether the controller may lead."""

    leads = False

    def check(self) -> None:
        if not self.leads:
            raise LeadershipLost("another controller leads")


def played_runtime() -> Any:
    runtime = create_autospec(LocalRuntime, instance=True)
    runtime.name, runtime.isolated, runtime.has_console, runtime.can_wait = "played", True, False, True
    runtime.describe.return_value = Surroundings(Path("/ci"), {})
    runtime.profile_of.return_value = "one"
    runtime.look.return_value = EngineStatus(WorkloadPhase.EXITED, 1)
    return runtime


def methods_of(protocol: type) -> dict[str, Any]:
    return {name: method for name, method in inspect.getmembers(protocol, inspect.isfunction) if name[0] != "_"}


@pytest.mark.parametrize("name", sorted(methods_of(Runtime).keys() - CHANGES_NOTHING))
async def test_nothing_that_changes_a_workload_gets_through(name: str) -> None:
    runtime = played_runtime()
    method = getattr(guarded(runtime, Say().check), name)
    with pytest.raises(LeadershipLost):
        await method(*(None for _ in inspect.signature(method).parameters))
    getattr(runtime, name).assert_not_called()


class Place:
    """The execution of jobs by a controller that may not lead, which has found a container that waits."""

    def __init__(self, path: Path, watcher: FileWatcher) -> None:
        self.data = DataDirectory(path)
        self.data.create()
        self.runtime = played_runtime()
        self.say = Say()
        settings = Settings(data_dir=path, db_path=path / "db", pool_size=1)
        writer = JobWriter(create_autospec(Storage, instance=True), cast(Lease, None), utc_now)
        runtime = cast(LocalRuntime, self.runtime)
        self.pool = Pool(
            settings, runtime=runtime, data=self.data, writer=writer, watcher=watcher, check=self.say.check
        )
        self.execution = WorkloadExecution(
            settings,
            runtime,
            self.data,
            utc_now,
            watcher=watcher,
            check=self.say.check,
            ballast=Ballast(self.data.path / "db"),
            pool=self.pool,
        )
        self.job = Job(
            id=new_job_id(),
            type="container",
            submit_time=utc_now(),
            state=State.RUNNING,
            plan=PLAN.model_dump(mode="json"),
        )
        self.second = replace(self.job, attempt=2, has_upload=True)
        self.fresh = replace(self.job, attempt=3)
        self.data.upload(self.job.id).parent.mkdir()
        self.data.upload(self.job.id).write_bytes(zipped({"a.txt": "a"}))
        preparation.prepare(self.data.run(self.job.id, 1), b"true", has_console=False)
        self.data.run(self.job.id, 1).waiting.touch()
        self.waiting = new_job_id()
        run = self.data.waiting_run(self.waiting)
        preparation.prepare_gate(run, has_console=False)
        run.waiting.touch()
        tickets.offer(self.data.pool, self.waiting)
        self.pool.inventory.waiting[self.waiting] = "one"

    def files(self) -> dict[Path, tuple[int, int]]:
        return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in self.data.path.rglob("*")}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with FileWatcher() as watcher:
        yield Place(tmp_path, watcher)


CHANGES: dict[str, Callable[[Place], Awaitable[object]]] = {
    "prepare": lambda place: place.execution.prepare(place.job),
    "prepare a later attempt": lambda place: place.execution.prepare(place.second),
    "prepare with what waits": lambda place: place.execution.prepare(place.fresh),
    "start": lambda place: place.execution.start(place.job),
    "release_gate": lambda place: place.execution.release_gate(place.job),
    "stop": lambda place: place.execution.stop(place.job, 1),
    "collect": lambda place: place.execution.collect(place.job),
    **{f"clean_up {scope}": lambda place, scope=scope: place.execution.clean_up(place.job, scope) for scope in Scope},
}


@pytest.mark.parametrize("change", CHANGES)
async def test_no_step_touches_the_files_of_a_job(place: Place, change: str) -> None:
    before = place.files()
    with pytest.raises(LeadershipLost):
        async with asyncio.timeout(PATIENCE):
            await CHANGES[change](place)
    assert place.files() == before
    changing = [call for call in place.runtime.method_calls if call[0] not in CHANGES_NOTHING]
    assert changing == []


async def test_the_mark_at_a_gate_stays_where_the_lease_ends_before_it_is_removed(place: Place) -> None:
    mark = place.data.run(place.job.id, 1).waiting
    place.say.leads = True

    def removed(*_: object, **__: object) -> None:
        place.say.leads = False

    place.runtime.remove.side_effect = removed
    with pytest.raises(LeadershipLost):
        await place.execution.prepare(place.job)
    assert mark.exists()


@pytest.mark.parametrize(("change", "file_work"), [("prepare", "prepare"), ("clean_up all", "clear")])
async def test_a_term_is_not_over_while_it_changes_files(
    place: Place, monkeypatch: pytest.MonkeyPatch, change: str, file_work: str
) -> None:
    """The next leader, perhaps the same process, finds all that has been changed."""
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
