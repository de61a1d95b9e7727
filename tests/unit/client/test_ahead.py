"""Frames that are compressed while a project is scanned for its first upload."""

import os
import random
from pathlib import Path

import pytest

from ci_client.packing import ahead, memory
from ci_client.packing.frames import Frame, ProjectChanged, frames_to_send, read_frame
from ci_client.packing.scan import Project, scan_directory
from ci_common.manifests.entries import Entry
from ci_common.manifests.packs import FRAME_BYTES, LENGTH, decompressed

MIB = 1024**2


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of 41 MiB with files of many sizes: empty ones, two of the same content, one of several frames."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chance, root = random.Random(1), tmp_path / "tree"
    root.mkdir()
    sizes = [0, 1, 700, 3 * MIB, FRAME_BYTES + 5, *(chance.randrange(MIB) for _ in range(60)), 0, FRAME_BYTES, 12]
    for number, size in enumerate(sizes):
        (root / f"{number:03}").write_bytes(chance.randbytes(size))
    (root / "070").write_bytes((root / "010").read_bytes())
    return root


def _frames(project: Project) -> list[Frame]:
    """Return the frames that a server wants that has none of the project."""
    first: dict[str, Entry] = {}
    for entry in project.entries:
        if entry.size:
            first.setdefault(entry.content, entry)
    return frames_to_send(list(first.values()))


def test_they_are_what_would_be_read_later(tree: Path) -> None:
    project, later = scan_directory(tree, to_send=True), scan_directory(tree, trusting=False)
    frames = _frames(project)
    assert len(frames) > 5
    for frame in frames:
        made, read = project.frame(frame), read_frame(tree, frame)
        assert decompressed(made[LENGTH.size :], frame.size) == decompressed(read[LENGTH.size :], frame.size)
    assert project.manifest == later.manifest


def test_what_was_read_for_the_digests_is_not_read_again(tree: Path) -> None:
    project = scan_directory(tree, to_send=True)
    several = [frame for frame in _frames(project) if all(entry.size <= MIB for entry, _, _ in frame.parts)]
    for path in tree.iterdir():
        path.unlink()
    assert several
    assert all(project.frame(frame) for frame in several)


def test_a_frame_is_made_once(tree: Path) -> None:
    project = scan_directory(tree, to_send=True)
    frame = _frames(project)[0]
    made = project.frame(frame)
    os.utime(tree / "001")
    assert project.frame(frame) == made, "it is read the second time, as after a broken connection"


def test_what_is_held_is_bounded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_MOST_BYTES", 2 * FRAME_BYTES)
    monkeypatch.setattr(ahead, "_WAITING", 1)
    project = scan_directory(tree, to_send=True)
    assert project.ahead is not None
    made = [project.ahead.taken(frame) for frame in _frames(project)]
    assert 2 <= sum(each is not None for each in made) <= 4
    assert all(project.frame(frame) for frame in _frames(project))


def test_a_file_that_changes_before_it_is_compressed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(root: Path, frame: Frame, contents: list[bytes | None]) -> bytes:
        if frame.parts[0][0].path == "000":
            (root / "003").write_bytes(b"something else")
        return read_frame(root, frame, contents)

    monkeypatch.setattr(ahead, "read_frame", too_late)
    (tree / "000").write_bytes(b"not empty")
    project = scan_directory(tree, to_send=True)
    with pytest.raises(ProjectChanged, match="003 changed while it was sent"):
        project.frame(_frames(project)[0])


def test_other_scans_compress_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_SETTLED_NS", -(10**18))
    assert scan_directory(tree).ahead is None
    known = scan_directory(tree, to_send=True)
    assert known.memory.files
    assert known.ahead is None
