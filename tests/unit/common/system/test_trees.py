"""Deleting what jobs leave, measuring it and opening it to others, also while a job still changes it."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ci_common.system.trees import Folder, delete_tree

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


def test_a_link_in_the_place_of_the_tree_is_deleted_itself(tmp_path: Path) -> None:
    (tmp_path / "kept" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    delete_tree(tmp_path / "link")
    assert not os.path.lexists(tmp_path / "link")
    assert (tmp_path / "kept" / "inner").exists()


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


class Racing:
    """A tree with a directory that a job replaces by a link to a place that is not its own, at a chosen moment."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.canary = path / "canary"
        (self.canary / "inner").mkdir(parents=True)
        (self.canary / "inner" / "file").write_bytes(b"x" * 100_000)
        for place in (self.canary / "inner" / "file", self.canary / "inner", self.canary):
            place.chmod(0o700)
        self.tree = path / "job" / "workspace"
        self.inner = self.tree / "outer" / "inner"
        self.inner.mkdir(parents=True)
        self.before = self.seen()
        self._patch = monkeypatch

    def seen(self) -> list[tuple[str, int, int]]:
        places = [self.canary, *sorted(self.canary.rglob("*"))]
        return [(str(place), place.stat().st_mode, place.stat().st_size) for place in places]

    def swap(self, folder: Path) -> None:
        if not folder.is_symlink():
            folder.rename(folder.with_name("elsewhere"))
            folder.symlink_to(self.canary)

    def swap_once_listed(self, name: str) -> None:
        """Replace the directory of this name as soon as it has been listed as one."""
        entries = Folder.entries

        def entries_then_swap(folder: Folder) -> "list[os.DirEntry[str]]":
            found = entries(folder)
            if any(entry.name == name and entry.is_dir(follow_symlinks=False) for entry in found):
                here = Path(os.readlink(f"/proc/self/fd/{folder.descriptor}"))
                self.swap(here / name)
            return found

        self._patch.setattr(Folder, "entries", entries_then_swap)


@pytest.fixture
def racing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Racing:
    return Racing(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["outer", "inner"])
def test_a_directory_that_becomes_a_link_is_not_followed_when_it_is_deleted(racing: Racing, name: str) -> None:
    racing.swap_once_listed(name)
    with suppress(OSError):  # What the job moved aside may be left.
        delete_tree(racing.tree)
    assert racing.seen() == racing.before
    delete_tree(racing.tree)
    assert not racing.tree.exists()
    assert racing.seen() == racing.before


def test_a_tree_that_becomes_a_link_is_not_followed_when_it_is_deleted(racing: Racing) -> None:
    has_folder = Folder.has_folder

    def has_folder_then_swap(folder: Folder, name: str) -> bool:
        found = has_folder(folder, name)
        if found and name == racing.tree.name:
            racing.swap(racing.tree)
        return found

    racing._patch.setattr(Folder, "has_folder", has_folder_then_swap)
    delete_tree(racing.tree)
    assert racing.seen() == racing.before
    assert not os.path.lexists(racing.tree)


@pytest.mark.parametrize("name", ["outer", "inner"])
def test_a_directory_that_becomes_a_link_is_not_opened_to_everyone(racing: Racing, name: str) -> None:
    racing.swap_once_listed(name)
    with suppress(OSError), Folder.opened(racing.tree) as tree:
        tree.open_to_everyone()
    assert racing.seen() == racing.before


@pytest.mark.parametrize("name", ["outer", "inner"])
def test_a_directory_that_becomes_a_link_is_not_walked(racing: Racing, name: str) -> None:
    racing.swap_once_listed(name)
    with Folder.opened(racing.tree) as tree:
        names = {entry.name for folder in tree.walk(lenient=True) for entry in folder.entries()}
    assert "file" not in names
    assert racing.seen() == racing.before


def test_what_has_a_name_is_made_again_where_it_is_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "canary").mkdir()
    (tmp_path / "here").mkdir()
    for name in ("folder", "fifo", "file", "written"):
        (tmp_path / "here" / name).symlink_to(tmp_path / "canary" / name)
    with Folder.opened(tmp_path / "here") as here:
        here.make_folder("folder")
        here.make_fifo("fifo")
        here.make_file("file")
        here.write("written", b"content")
    assert list((tmp_path / "canary").iterdir()) == []
    assert {path.name: stat.S_IFMT(path.lstat().st_mode) for path in (tmp_path / "here").iterdir()} == {
        "folder": stat.S_IFDIR,
        "fifo": stat.S_IFIFO,
        "file": stat.S_IFREG,
        "written": stat.S_IFREG,
    }
    assert (tmp_path / "here" / "written").read_bytes() == b"content"


def test_a_link_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError), Folder.opened(tmp_path / "link"):
        pass
