"""Wake-ups on changed files, with inotify and without."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from ci_common.system import watch
from ci_common.system.watch import OVERFLOW, POLL_SECONDS, FileWatcher, Watched

LONG = 5.0
"""A deadline that a passing test never reaches."""

needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
async def watcher() -> AsyncIterator[FileWatcher]:
    async with FileWatcher() as watcher:
        yield watcher


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


def append(path: Path, data: bytes = b"x") -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_a_write_wakes_before_its_file_is_closed(watcher: FileWatcher, log: Path) -> None:
    with watcher.subscribe((log, Watched.CONTENT)) as changes, log.open("ab", buffering=0) as file:
        for _ in range(3):
            file.write(b"x")
            assert await changes.wait(LONG)


@needs_inotify
async def test_without_a_change_the_wait_ends_with_false(watcher: FileWatcher, log: Path) -> None:
    with watcher.subscribe((log, Watched.CONTENT)) as changes:
        assert not await changes.wait(0.01)
        append(log)
        assert await changes.wait(LONG)
        assert not await changes.wait(0.01)


@needs_inotify
async def test_changes_between_two_waits_are_one(watcher: FileWatcher, log: Path) -> None:
    with watcher.subscribe((log, Watched.CONTENT)) as changes:
        append(log)
        assert await changes.wait(LONG)
        append(log)
        append(log)
        await asyncio.sleep(0)
        assert await changes.wait(LONG)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "made").mkdir(),
        lambda folder: (folder / "written").touch(),
        lambda folder: (folder.parent / "elsewhere").rename(folder / "moved"),
    ],
    ids=["made", "written", "moved"],
)
async def test_entries_of_a_directory(watcher: FileWatcher, tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "elsewhere").touch()
    with watcher.subscribe((folder, Watched.ENTRIES)) as changes:
        change(folder)
        assert await changes.wait(LONG)


@needs_inotify
async def test_a_directory_wakes_when_a_file_in_it_has_been_written(watcher: FileWatcher, tmp_path: Path) -> None:
    with (tmp_path / "exit").open("w") as file, watcher.subscribe((tmp_path, Watched.ENTRIES)) as changes:
        file.write("0\n")
        file.flush()
        assert not await changes.wait(0.01)
        file.close()
        assert await changes.wait(LONG)


async def test_one_subscription_on_several_paths(watcher: FileWatcher, log: Path, tmp_path: Path) -> None:
    other = tmp_path / "sub"
    other.mkdir()
    with watcher.subscribe((log, Watched.CONTENT), (other, Watched.ENTRIES)) as changes:
        append(log)
        assert await changes.wait(LONG)
        (other / "exit").touch()
        assert await changes.wait(LONG)


async def test_two_listeners_on_one_file_and_one_leaves(watcher: FileWatcher, log: Path) -> None:
    with watcher.subscribe((log, Watched.CONTENT)) as staying:
        with watcher.subscribe((log, Watched.CONTENT)) as leaving:
            append(log)
            assert await staying.wait(LONG)
            assert await leaving.wait(LONG)
        append(log)
        assert await staying.wait(LONG)
    with watcher.subscribe((log, Watched.CONTENT)) as later:
        append(log)
        assert await later.wait(LONG)


@needs_inotify
async def test_only_the_watched_file_wakes(watcher: FileWatcher, log: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    with (
        watcher.subscribe((log, Watched.CONTENT)) as ours,
        watcher.subscribe((other, Watched.CONTENT)) as theirs,
    ):
        append(other)
        assert await theirs.wait(LONG)
        assert not await ours.wait(0.01)


@needs_inotify
async def test_when_events_were_lost_everybody_is_woken(
    watcher: FileWatcher, monkeypatch: pytest.MonkeyPatch, log: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.touch()
    with (
        watcher.subscribe((log, Watched.CONTENT)) as ours,
        watcher.subscribe((other, Watched.CONTENT)) as theirs,
    ):
        changed = watch.Inotify.changed
        monkeypatch.setattr(watch.Inotify, "changed", lambda inotify: changed(inotify) and {OVERFLOW})
        append(other)
        assert await ours.wait(LONG)
        assert await theirs.wait(LONG)


@needs_inotify
async def test_all_that_has_changed_wakes_at_once(watcher: FileWatcher, tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths:
        path.touch()
    with ExitStack() as stack:
        listeners = [stack.enter_context(watcher.subscribe((path, Watched.CONTENT))) for path in paths]
        for path in paths:
            append(path)
        assert await listeners[0].wait(LONG)
        assert all([await listener.wait(0) for listener in listeners[1:]])


async def test_a_link_is_not_followed(watcher: FileWatcher, log: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(log)
    with watcher.subscribe((link, Watched.CONTENT)) as changes:
        append(log)
        assert not await changes.wait(0.02)


async def test_somebody_may_wake_by_hand(watcher: FileWatcher, log: Path) -> None:
    with watcher.subscribe((log, Watched.CONTENT)) as changes:
        changes.wake()
        assert await changes.wait(LONG)


class TestPolling:
    async def test_a_missing_file_is_polled_for(self, watcher: FileWatcher, tmp_path: Path) -> None:
        with watcher.subscribe((tmp_path / "absent", Watched.CONTENT)) as changes:
            async with asyncio.timeout(LONG):
                assert await changes.wait(60)

    async def test_a_wait_shorter_than_the_interval_says_nothing(self, watcher: FileWatcher, tmp_path: Path) -> None:
        with watcher.subscribe((tmp_path / "absent", Watched.CONTENT)) as changes:
            assert not await changes.wait(POLL_SECONDS / 100)

    async def test_a_partly_missing_subscription_is_woken_too(
        self, watcher: FileWatcher, log: Path, tmp_path: Path
    ) -> None:
        with watcher.subscribe((log, Watched.CONTENT), (tmp_path / "absent", Watched.ENTRIES)) as changes:
            append(log)
            assert await changes.wait(POLL_SECONDS / 2)

    async def test_where_there_is_no_inotify(self, monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
        monkeypatch.setattr(watch.sys, "platform", "sunos5")
        async with FileWatcher() as watcher, asyncio.timeout(LONG):
            with watcher.subscribe((log, Watched.CONTENT)) as changes:
                assert await changes.wait(60)

    @needs_inotify
    async def test_where_inotify_has_no_instance_left(self, monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
        def none_left() -> None:
            raise OSError(24, os.strerror(24))

        monkeypatch.setattr(watch, "Inotify", none_left)
        async with FileWatcher() as watcher, asyncio.timeout(LONG):
            with watcher.subscribe((log, Watched.CONTENT)) as changes:
                assert await changes.wait(60)

    @needs_inotify
    async def test_where_inotify_fails_later(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, log: Path
    ) -> None:
        def broken(_: object) -> None:
            raise OSError(5, os.strerror(5))

        async with FileWatcher() as watcher, asyncio.timeout(LONG):
            with watcher.subscribe((log, Watched.CONTENT)) as changes:
                monkeypatch.setattr(watch.Inotify, "changed", broken)
                append(log)
                assert await changes.wait(60)
                assert await changes.wait(60), "nothing has changed, but something may have"
        assert "cannot be read any more" in caplog.text


class TestEnding:
    async def test_a_file_that_goes_does_no_harm(self, watcher: FileWatcher, log: Path) -> None:
        with watcher.subscribe((log, Watched.CONTENT)):
            log.unlink()
            log.touch()
            with watcher.subscribe((log, Watched.CONTENT)) as again:
                append(log)
                assert await again.wait(LONG)

    async def test_a_subscription_may_outlive_its_watcher(self, log: Path) -> None:
        async with FileWatcher() as watcher:
            subscription = watcher.subscribe((log, Watched.CONTENT))
        with subscription:
            assert not await subscription.wait(0.01)
        with watcher.subscribe((log, Watched.CONTENT)) as changes:
            assert not await changes.wait(0.01)

    @needs_inotify
    async def test_leaves_no_file_open(self, log: Path) -> None:
        before = os.listdir("/proc/self/fd")
        async with FileWatcher() as watcher:
            with watcher.subscribe((log, Watched.CONTENT)) as changes:
                append(log)
                assert await changes.wait(LONG)
        assert os.listdir("/proc/self/fd") == before
