"""Scanning a directory: what is read again, and what is sent as it was."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ci_client.errors import PackingError
from ci_client.packing import digests, memory, scan
from ci_client.packing.frames import ProjectChanged, frames_to_send, read_frame
from ci_client.packing.memory import Memory
from ci_client.packing.scan import scan_directory

OLD = time.time() - 1000


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    for name in ("a", "b"):
        (root / name).write_text(name)
    return root


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files that were read, as they are read."""
    paths: list[str] = []
    opened = digests.opened

    def noting(leaf: Any) -> Any:
        paths.append(leaf.path)
        return opened(leaf)

    monkeypatch.setattr(digests, "opened", noting)
    return paths


def later(monkeypatch: pytest.MonkeyPatch, seconds: float = 10) -> None:
    """Let the clock of scans be later than that of the files."""
    now = time.time_ns
    monkeypatch.setattr(scan.time, "time_ns", lambda: now() + int(seconds * 1e9))


def test_what_has_not_changed_is_not_read_again(tree: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    first = scan_directory(tree)
    assert sorted(read) == ["a", "b"]
    read.clear()
    assert scan_directory(tree).entries == first.entries
    assert read == []
    (tree / "a").write_text("x")
    again = scan_directory(tree)
    assert read == ["a"]
    assert again.entries != first.entries


def test_what_was_changed_just_before_is_read_again(tree: Path, read: list[str]) -> None:
    """As in git's index: a further change may have left the same times."""
    first = scan_directory(tree)
    read.clear()
    status = (tree / "a").stat()
    (tree / "a").write_text("x")
    os.utime(tree / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scan_directory(tree).entries != first.entries
    assert sorted(read) == ["a", "b"]


@pytest.mark.parametrize("change", ["mtime kept", "replaced", "mode"])
def test_changes_that_are_seen(tree: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    later(monkeypatch)
    first = scan_directory(tree)
    status = (tree / "a").stat()
    if change == "mtime kept":
        (tree / "a").write_text("x")
    elif change == "replaced":
        (tree / "new").write_text("x")
        os.replace(tree / "new", tree / "a")
    else:
        (tree / "a").chmod(0o755)
    os.utime(tree / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scan_directory(tree).entries != first.entries


def test_a_file_that_a_rule_has_come_to_leave_out_stays_left_out(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    scan_directory(tree)
    (tree / ".gitignore").write_text("a")
    for _ in range(3):
        assert [entry.path for entry in scan_directory(tree).entries] == [".gitignore", "b"]


@pytest.mark.parametrize("modified_ns", [-(10**18), -1, 0])
def test_a_file_from_before_1970_is_read_once(
    tree: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, modified_ns: int
) -> None:
    os.utime(tree / "a", ns=(0, modified_ns))
    later(monkeypatch)
    scan_directory(tree)
    assert Memory.of(tree).files["a"].modified_ns == (tree / "a").stat().st_mtime_ns
    read.clear()
    scan_directory(tree)
    assert read == []


@pytest.mark.parametrize("damage", [b"", b"x", None, "flip", "cut"])
def test_a_damaged_memory_is_as_good_as_none(
    tree: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | str | None
) -> None:
    later(monkeypatch)
    first = scan_directory(tree)
    Memory.of(tree).remember_base("server", "job", first.manifest)
    for path in memory._directory().iterdir():
        raw = path.read_bytes()
        if damage is None:
            path.unlink()
            path.mkdir()
        elif damage == "flip":
            path.write_bytes(raw[:-10] + b"0" + raw[-9:])
        else:
            path.write_bytes(raw[:-5] if damage == "cut" else damage)  # type: ignore[arg-type]
    known = Memory.of(tree)
    assert (known.files, known.base("server")) == ({}, None)
    assert scan_directory(tree).entries == first.entries


@pytest.mark.parametrize("changed", [1, 5])
def test_few_changes_of_a_large_project_are_seen_whether_remembered_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: int
) -> None:
    later(monkeypatch)
    project = tmp_path / "large"
    project.mkdir()
    for number in range(200):
        (project / f"{number}").write_text("one")
    before = scan_directory(project)
    known = Memory.of(project).files
    for number in range(changed):
        (project / f"{number}").write_text("two")
    for _ in range(2):
        after = scan_directory(project)
        assert sum(new != old for new, old in zip(after.entries, before.entries, strict=True)) == changed
    assert (Memory.of(project).files == known) is (changed == 1), "one of 200 is not worth the writing of all"


def test_manifests_that_no_base_has_are_forgotten(tree: Path) -> None:
    known = Memory.of(tree)
    for number in range(6):
        known.remember_base("server", f"job {number}", f"f 1 {number:064x} a\n")
    assert len(list(memory._directory().glob("*.manifest"))) == 1
    assert Memory.of(tree).last_base() == known.base("server")


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_a_manifest_that_is_lost_is_remembered_again(tree: Path, damage: bytes | None) -> None:
    known, manifest = Memory.of(tree), scan_directory(tree).manifest
    known.remember_base("server", "job", manifest)
    (path,) = memory._directory().glob("*.manifest")
    path.unlink() if damage is None else path.write_bytes(damage)
    base = known.base("server")
    assert base is not None
    assert known.manifest_of(base) is None
    Memory.of(tree).remember_base("server", "job 2", manifest)
    assert known.manifest_of(base) == manifest


def test_a_memory_that_cannot_be_written(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    project = scan_directory(tree)
    project.memory.remember_base("server", "job", project.manifest)
    assert project.memory.base("server") is None


def test_bases_are_remembered_by_server(tree: Path) -> None:
    manifest = scan_directory(tree).manifest
    known = Memory.of(tree)
    for number in range(6):
        known.remember_base(f"server {number}", f"job {number}", manifest)
    assert known.base("server 0") is None
    found = known.base("server 5")
    assert found is not None
    assert found.job_id == "job 5"
    assert known.manifest_of(found) == manifest
    last = known.last_base()
    assert last is not None
    assert last.job_id == "job 5"


@pytest.mark.parametrize("change", ["other", "shorter", "gone"])
def test_a_change_between_scan_and_sending_is_seen(tree: Path, change: str) -> None:
    entries = scan_directory(tree).entries
    (frame,) = frames_to_send(entries)
    if change == "gone":
        (tree / "a").unlink()
    else:
        (tree / "a").write_text("" if change == "shorter" else "x")
    with pytest.raises(ProjectChanged):
        read_frame(tree, frame)


def test_a_file_that_grows_is_sent_as_it_was(tree: Path) -> None:
    entries = scan_directory(tree).entries
    (frame,) = frames_to_send(entries)
    sent = read_frame(tree, frame)
    (tree / "a").write_text("a and more")
    assert read_frame(tree, frame) == sent


def test_a_directory_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(PackingError, match="holds no files"):
        scan_directory(tmp_path / "empty")
    (tmp_path / "empty" / "link").symlink_to("/etc")
    with pytest.raises(PackingError, match="leads out of the project"):
        scan_directory(tmp_path / "empty")
