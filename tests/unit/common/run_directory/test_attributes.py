"""Files that may only grow, and directories whose entries lie apart."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_common.run_directory.attributes import (
    allow_changes,
    allow_changes_to_logs,
    make_append_only,
    make_place_of_trees,
)
from ci_common.system.trees import delete_tree, unlink


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "jobs" / "id" / "1" / "log"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"one\n")
    if not make_append_only(path):
        pytest.skip("needs CAP_LINUX_IMMUTABLE, and a file system with the attribute")
    yield path
    allow_changes(path)


def test_what_it_has_stays_by_whatever_name_it_is_opened(log: Path) -> None:
    with log.open("ab", buffering=0) as file:
        for path in (log, Path(f"/proc/self/fd/{file.fileno()}")):
            for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_APPEND | os.O_WRONLY | os.O_TRUNC):
                with pytest.raises(PermissionError):
                    os.open(path, flags)
        with pytest.raises(PermissionError):
            os.truncate(file.fileno(), 0)
        for change in (log.unlink, lambda: log.rename(log.with_name("other")), lambda: os.link(log, f"{log}.2")):
            with pytest.raises(PermissionError):
                change()
        file.write(b"two\n")
    assert log.read_bytes() == b"one\ntwo\n"


def test_its_directory_can_be_renamed(log: Path) -> None:
    moved = log.parent.rename(log.parent.with_name("2"))
    unlink(moved / "log")
    assert list(moved.iterdir()) == []


def test_it_can_be_changed_again(log: Path, tmp_path: Path) -> None:
    allow_changes_to_logs(tmp_path)
    log.write_bytes(b"")
    log.unlink()


def test_a_tree_with_it_can_be_deleted(log: Path, tmp_path: Path) -> None:
    delete_tree(tmp_path / "jobs")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_file_is_left_alone(log: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(log)
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "link", tmp_path / "fifo", tmp_path / "missing"):
        assert not make_append_only(path)
        assert not allow_changes(path)
    with pytest.raises(PermissionError):
        log.unlink()


def test_what_cannot_be_removed_for_another_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        unlink(tmp_path / "missing")
    with pytest.raises(OSError, match="directory"):
        unlink(tmp_path)


def test_a_place_of_trees_has_the_attribute_that_chattr_would_give_it(tmp_path: Path) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    other.mkdir(mode=0o700)
    subprocess.run(["chattr", "+T", other], check=False)  # Not every file system has it.
    make_place_of_trees(place)
    make_place_of_trees(place)
    assert _attributes(place) == _attributes(other)
    assert place.stat().st_mode == other.stat().st_mode


def _attributes(path: Path) -> str:
    return subprocess.run(["lsattr", "-d", path], check=False, capture_output=True, text=True).stdout.partition(" ")[0]
