"""Deleting what jobs leave."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ci_controller.trees import delete_tree

NOBODY = 65534


def test_what_is_not_there_is_deleted_already(tmp_path: Path) -> None:
    delete_tree(tmp_path / "gone")


def test_links_are_deleted_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "link").symlink_to(tmp_path / "kept")
    (tree / "inner" / "link").symlink_to("/")
    (tree / "inner" / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "inner" / "pipe")
    delete_tree(tree)
    assert not tree.exists()
    assert (tmp_path / "kept" / "file").exists()


def test_a_link_in_the_place_of_the_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    with pytest.raises(NotADirectoryError):
        delete_tree(tmp_path / "link")
    assert (tmp_path / "kept").exists()


def test_no_depth_is_too_deep(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deeper", dir_fd=descriptor)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    delete_tree(tree)
    assert not tree.exists()


def test_names_in_the_way_are_passed_over(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b" / "c").mkdir(parents=True)
    (tree / ".deleting-0").mkdir()
    (tree / ".deleting-1").touch()
    delete_tree(tree)
    assert not tree.exists()


@pytest.fixture
def powerless() -> Iterator[Path]:
    """A directory of a user whom permissions bind, who is in force during the test; to root they mean nothing."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        was = os.geteuid()
        if was == 0:
            os.chown(name, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(was)


def test_directories_without_permissions_are_deleted(powerless: Path) -> None:
    tree = powerless / "tree"
    inner = tree / "locked" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    for folder in (inner, inner.parent, tree):
        folder.chmod(0)
    delete_tree(tree)
    assert not tree.exists()


def test_what_may_not_be_deleted_is_an_error(powerless: Path) -> None:
    tree = powerless / "tree"
    tree.mkdir()
    powerless.chmod(0o500)
    with pytest.raises(PermissionError):
        delete_tree(tree)
