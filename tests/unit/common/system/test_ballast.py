"""Room that is kept back for a full disk."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from ci_common.system import disk
from ci_common.system.disk import BALLAST_BYTES, Ballast
from tests.helpers.machine import PlayedUsage


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes the disk has free, in a list of one to be changed."""
    free = [10 * BALLAST_BYTES]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: PlayedUsage(100 * BALLAST_BYTES, free[0]))
    return free


@pytest.fixture
def kept(tmp_path: Path, free: list[int]) -> Ballast:
    kept = Ballast(tmp_path / "db")
    kept.take()
    return kept


def test_it_takes_up_blocks_of_the_disk(kept: Ballast) -> None:
    assert kept.is_kept()
    assert kept.path.stat().st_blocks * 512 >= BALLAST_BYTES
    assert kept.path.stat().st_mode & 0o077 == 0


def test_given_up_it_takes_none_and_tells_so(kept: Ballast, tmp_path: Path) -> None:
    assert not kept.was_given_up_for(tmp_path)
    assert kept.give_up()
    assert not kept.give_up(), "once"
    assert kept.path.stat().st_blocks == 0
    assert kept.was_given_up_for(tmp_path)


def test_it_is_taken_again_once_there_is_room(kept: Ballast, tmp_path: Path, free: list[int]) -> None:
    kept.give_up()
    free[0] = 2 * BALLAST_BYTES - 1
    kept.take()
    assert kept.was_given_up_for(tmp_path)
    assert kept.is_missed_for(tmp_path)
    free[0] += 1
    assert not kept.is_missed_for(tmp_path)
    kept.take()
    assert not kept.was_given_up_for(tmp_path)
    assert kept.is_kept()


def test_a_disk_that_takes_none_after_all_keeps_all_it_has(
    tmp_path: Path, free: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk.os, "posix_fallocate", full)
    kept = Ballast(tmp_path / "db")
    kept.take()
    assert not kept.is_kept()


def test_one_that_was_never_taken_was_never_given_up(tmp_path: Path) -> None:
    never = Ballast(tmp_path / "db")
    assert not never.give_up()
    assert not never.was_given_up_for(tmp_path)


def test_it_lies_beside_what_a_link_to_a_database_leads_to(tmp_path: Path, free: list[int]) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "db").symlink_to(tmp_path / "there" / "real")
    Ballast(tmp_path / "db").take()
    assert os.listdir(tmp_path / "there") == ["real-ballast"]
