"""Directories of many entries are looked through a few at a time, and nothing else has to wait for that."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from ci_controller.gc import directories
from ci_controller.gc.directories import scan_gently
from tests.helpers.waiting import PATIENCE, eventually


@pytest.mark.parametrize("entries", [0, 1, 3, 4, 10])
async def test_everything_is_found_a_few_entries_at_a_time_and_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    monkeypatch.setattr(directories, "AT_ONCE", 4)
    for number in range(entries):
        (tmp_path / str(number)).mkdir()
    here, found = threading.get_ident(), list[list[str]]()

    def examine(entry: "os.DirEntry[str]") -> list[str]:
        assert threading.get_ident() != here
        return [entry.name, entry.name.upper()]

    async with aclosing(scan_gently(tmp_path, examine)) as slices:
        async for names in slices:
            found.append(names)
    assert sorted(name for names in found for name in names) == sorted(2 * [str(n) for n in range(entries)])
    assert all(0 < len(names) <= 8 for names in found)


async def test_what_finds_nothing_yields_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    async with aclosing(scan_gently(tmp_path, lambda _: ())) as slices:
        assert [found async for found in slices] == []


async def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    async with aclosing(scan_gently(tmp_path / "none", lambda _: ())) as slices:
        with pytest.raises(FileNotFoundError):
            await anext(slices)


async def test_what_a_cancelled_walk_has_just_opened_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, release, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        """A directory that takes a while to be opened."""

        def __init__(self, _: Path) -> None:
            begun.set()
            release.wait(PATIENCE)

        def __enter__(self) -> Iterator[object]:
            return iter(())

        def __exit__(self, *_: object) -> None:
            closed.set()

    monkeypatch.setattr(directories.os, "scandir", Slow)

    async def walk() -> None:
        async with aclosing(scan_gently(tmp_path, lambda entry: [entry])) as found:
            await anext(found)

    walking_on = asyncio.create_task(walk())
    await eventually(begun.is_set)
    walking_on.cancel()
    release.set()
    await asyncio.wait({walking_on})
    assert walking_on.cancelled()
    assert closed.is_set()
