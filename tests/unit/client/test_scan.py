"""Scanning a directory: what is read again, and what is sent as it was."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ci_client.errors import PackingError
from ci_client.packing import memory, scan
from ci_client.packing.memory import Base, Memory
from ci_client.packing.scan import ProjectChanged, frames_to_send, read_frame, scan_directory
from ci_common.manifests.entries import manifest_text

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
    opened = scan.opened

    def noting(leaf: Any) -> Any:
        paths.append(leaf.path)
        return opened(leaf)

    monkeypatch.setattr(scan, "opened", noting)
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


@pytest.mark.parametrize("damage", [b"", b"x", None, "flip", "cut"])
def test_a_damaged_memory_is_as_good_as_none(
    tree: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | str | None
) -> None:
    later(monkeypatch)
    first = scan_directory(tree)
    Memory.of(tree).remember_base("server", Base.of("job", first.entries))
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


def test_a_memory_that_cannot_be_written(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    project = scan_directory(tree)
    project.memory.remember_base("server", Base.of("job", project.entries))
    assert project.memory.base("server") is None


def test_bases_are_remembered_by_server(tree: Path) -> None:
    entries = scan_directory(tree).entries
    known = Memory.of(tree)
    for number in range(6):
        known.remember_base(f"server {number}", Base.of(f"job {number}", entries))
    assert known.base("server 0") is None
    found = known.base("server 5")
    assert found is not None
    assert found.job_id == "job 5"
    assert manifest_text(found.entries().values()) == manifest_text(entries)
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
