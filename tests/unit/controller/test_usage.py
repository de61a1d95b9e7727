"""Following what a running job uses."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import LogTimes
from ci_common.system import disk
from ci_common.system.disk import measure_tree
from ci_common.system.watch import FileWatcher
from ci_common.times import utc_now
from ci_controller.execution import watching
from ci_controller.execution.watching import UsageWatch
from ci_controller.policy import JobLimits
from tests.helpers.waiting import PATIENCE, eventually

MIB = 1024**2
PLENTY = 2**62


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "1")
    directory.workspace.mkdir(parents=True)
    directory.log.touch()
    return directory


@asynccontextmanager
async def following(run: RunDirectory, limits: JobLimits, exceeded: Callable[[], None]) -> AsyncIterator[UsageWatch]:
    async with FileWatcher() as watcher:
        watch = UsageWatch(
            run, limits, watcher=watcher, clock=utc_now, measuring=asyncio.Lock(), exceeded=exceeded, check=lambda: None
        )  # fmt: skip
        task = asyncio.create_task(watch.run())
        try:
            yield watch
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def append(run: RunDirectory, size: int) -> None:
    with run.log.open("ab") as file:
        file.write(bytes(size))


async def test_a_log_is_told_of_as_soon_as_it_is_over_its_limit(run: RunDirectory) -> None:
    told = asyncio.Event()
    async with following(run, JobLimits(log=MIB), told.set):
        append(run, MIB)
        await eventually(lambda: LogTimes(run.times).last_length() == MIB, "what is allowed is noted")
        assert not told.is_set()
        append(run, 1)
        await asyncio.wait_for(told.wait(), PATIENCE)


async def test_a_log_that_was_over_its_limit_before(run: RunDirectory) -> None:
    told = asyncio.Event()
    append(run, MIB + 1)
    async with following(run, JobLimits(log=MIB), told.set):
        await asyncio.wait_for(told.wait(), PATIENCE)


async def test_a_log_is_watched_although_nothing_can_be_noted(run: RunDirectory) -> None:
    told = asyncio.Event()
    run.times.symlink_to("/dev/full")
    async with following(run, JobLimits(log=MIB), told.set):
        append(run, 1)
        append(run, MIB)
        await asyncio.wait_for(told.wait(), PATIENCE)


async def test_a_job_that_only_begins_waits_for_no_file_to_be_made(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "TIMES_SECONDS", 3600.0)
    async with following(run, JobLimits(log=MIB), lambda: None) as watch:
        append(run, 1)
        await eventually(lambda: watch.first_output is not None, "the output is seen")
    assert not run.times.exists()


async def test_what_is_noted_later_is_when_it_was_first_seen(run: RunDirectory) -> None:
    append(run, 1)
    async with following(run, JobLimits(log=MIB), lambda: None):
        await eventually(lambda: LogTimes(run.times).last_length() == 1, "it is noted")
    seen = LogTimes(run.times).time_of(0)
    assert seen is not None
    assert (utc_now() - seen).total_seconds() >= watching.TIMES_SECONDS


async def test_a_workspace_is_measured_again_and_again(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(watching, "WORKSPACE_SECONDS", 0.02)
    told = asyncio.Event()
    async with following(run, JobLimits(workspace=MIB), told.set) as watch:
        await eventually(lambda: watch.workspace_bytes == 0, "an empty one was measured")
        (run.workspace / "file").write_bytes(bytes(2 * MIB))
        await asyncio.wait_for(told.wait(), PATIENCE)
        assert watch.workspace_bytes is not None
        assert watch.workspace_bytes > MIB


async def test_a_workspace_without_a_limit_costs_nothing(run: RunDirectory) -> None:
    async with following(run, JobLimits(), lambda: None) as watch:
        append(run, 1)
        await eventually(lambda: LogTimes(run.times).last_length() == 1, "the log is followed")
        assert watch.workspace_bytes is None


async def test_a_tree_is_what_it_takes_on_its_disk(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/one", "a/b/two"):
        (tmp_path / name).write_bytes(os.urandom(MIB))
    plain = await measure_tree(tmp_path, enough=PLENTY)
    assert 2 * MIB <= plain < 3 * MIB
    os.link(tmp_path / "a/one", tmp_path / "a/again")
    (tmp_path / "a/b/out").symlink_to("/")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with_more = await measure_tree(tmp_path, enough=PLENTY)
    assert with_more - plain < 100_000, "hard links count once, holes and what links lead to not at all"


async def test_a_measurement_ends_once_it_knows_enough(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).write_bytes(os.urandom(MIB // 4))
    assert await measure_tree(tmp_path, enough=MIB) < 2 * MIB


async def test_a_measurement_ends_in_time(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / str(number)).write_bytes(b"x")
    whole = await measure_tree(tmp_path, enough=PLENTY)
    assert await measure_tree(tmp_path, enough=PLENTY, seconds=0) < whole


async def test_a_measurement_that_is_cancelled_leaves_no_thread_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0

    def endless(_: Path) -> object:
        nonlocal seen
        state = tmp_path.stat()
        while True:
            seen += 1
            time.sleep(0.0001)
            yield state

    monkeypatch.setattr(disk, "_states_below", endless)
    task = asyncio.create_task(measure_tree(tmp_path, enough=PLENTY, seconds=40))
    await eventually(lambda: seen > 0, "it is at work")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    begun = time.monotonic()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert time.monotonic() - begun < 20


async def test_a_tree_that_changes_meanwhile(tmp_path: Path) -> None:
    assert await measure_tree(tmp_path / "gone", enough=PLENTY) == 0


async def test_a_workspace_that_is_a_link_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary" / "file").write_bytes(os.urandom(MIB))
    (tmp_path / "workspace").symlink_to(tmp_path / "canary")
    assert await measure_tree(tmp_path / "workspace", enough=PLENTY) == 0
