"""Which files of a workspace are artifacts, whatever a job has put there."""

import os
import socket
from pathlib import Path

import pytest

from ci_common.spec_parts.artifacts import PlannedArtifacts
from ci_common.system.trees import Folder
from ci_controller.artifacts import selection
from ci_controller.artifacts.selection import Selection, select

EVERYTHING = PlannedArtifacts(take=("**",))


def chosen(root: Path, *plans: PlannedArtifacts, most_files: int = 1000) -> Selection:
    with Folder.opened(root) as folder:
        return select(folder, plans, most_files=most_files, check=lambda: None)


def paths(found: Selection) -> list[str]:
    return [file.path for file in found.files]


def left_out(found: Selection) -> dict[str, str]:
    return {one.path: one.reason for one in found.omissions.first}


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_takes_what_matches_in_order_and_leaves_what_is_excluded(tmp_path: Path) -> None:
    put(tmp_path, "dist/b.whl", "dist/a.whl", "dist/tmp/c.whl", "src/x.py", ".hidden/y")
    found = chosen(tmp_path, PlannedArtifacts(take=("dist", ".hidden/*"), leave=("dist/tmp",)))
    assert paths(found) == [".hidden/y", "dist/a.whl", "dist/b.whl"]
    assert found.omissions.number == 0
    assert [file.size for file in found.files] == [9, 10, 10]


def test_a_file_belongs_to_the_first_group_that_takes_it(tmp_path: Path) -> None:
    put(tmp_path, "a.log", "b.txt")
    logs, rest = PlannedArtifacts(name="logs", take=("*.log",)), PlannedArtifacts(name="rest", take=("*",))
    assert [file.group.name for file in chosen(tmp_path, logs, rest).files] == ["logs", "rest"]
    assert [file.group.name for file in chosen(tmp_path, rest, logs).files] == ["rest", "rest"]


def test_enters_only_directories_that_can_hold_a_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, *(f"node_modules/{number}/x" for number in range(50)), "dist/a")
    monkeypatch.setattr(selection, "MOST_ENTRIES", 10)
    assert paths(chosen(tmp_path, PlannedArtifacts(take=("dist/*",)))) == ["dist/a"]
    cut = chosen(tmp_path, PlannedArtifacts(take=("**/a",)))
    assert "after 10 files and directories" in next(iter(left_out(cut).values()))


def test_takes_no_more_than_it_may_and_counts_the_rest(tmp_path: Path) -> None:
    put(tmp_path, *(f"{number:03}" for number in range(60)))
    found = chosen(tmp_path, EVERYTHING, most_files=50)
    assert paths(found) == [f"{number:03}" for number in range(50)]
    assert found.omissions.number == 10
    assert "CI_ARTIFACTS_MAX_FILES" in left_out(found)["050"]


def test_follows_no_link_and_opens_nothing_but_files(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside, "secret")
    root = tmp_path / "root"
    put(root, "real")
    (root / "to_file").symlink_to(outside / "secret")
    (root / "to_folder").symlink_to(outside)
    (root / "within").symlink_to("real")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "fifo")
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(root / "socket"))
        found = chosen(root, EVERYTHING)
    finally:
        listening.close()
    assert paths(found) == ["real"]
    link = "it is a link, and links are not followed"
    assert left_out(found) == dict.fromkeys(["to_file", "to_folder", "within", "dangling"], link) | {
        "fifo": "it is a FIFO",
        "socket": "it is a socket",
    }
    assert chosen(root, PlannedArtifacts(take=("to_folder/secret",))).files == []


def test_every_name_that_a_file_can_have(tmp_path: Path) -> None:
    names = [bytes([byte]) for byte in range(1, 256) if byte not in b"/."]
    names += ["größe".encode(), "\u202egnp.exe".encode(), "a\u2028b".encode(), b"..a", b"...", b" ", b"x" * 255]
    names += [b"-rf", b"A\xcc\x88", "Ä".encode(), b"con", b"a\\..\\b"]
    for name in names:
        (Path(os.fsdecode(bytes(tmp_path))) / os.fsdecode(name)).touch()
    found = chosen(tmp_path, EVERYTHING)
    kept = {path.encode() for path in paths(found)}
    assert len(kept) + found.omissions.number == len(set(names))
    assert kept <= set(names)
    for path in paths(found):
        assert path.isprintable() or not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in path)
    assert {"größe".encode(), "\u202egnp.exe".encode(), b"..a", b"...", b"a\\..\\b", b"\\", b"x" * 255} <= kept
    assert all(one.path.isprintable() for one in found.omissions.first)
    assert set(left_out(found).values()) <= {
        "its name is not valid UTF-8",
        "its name has a control character or a line end",
    }


def test_long_and_deep_paths(tmp_path: Path) -> None:
    with Folder.opened(tmp_path) as root:
        put(tmp_path, "near")
        folder = root.descriptor
        opened = []
        for _ in range(3000):  # 6,000 bytes of path.
            os.mkdir("d", dir_fd=folder)
            folder = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
            opened.append(folder)
        for descriptor in opened[:-1]:
            os.close(descriptor)
        os.close(os.open("deep", os.O_CREAT | os.O_WRONLY, dir_fd=opened[-1]))
        os.close(opened[-1])
        found = chosen(tmp_path, EVERYTHING)
        assert paths(found) == ["near"]
        (reason,) = left_out(found).values()
        assert "at most 1024 are kept" in reason
        root.delete("d")


def test_a_directory_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    put(tmp_path, "open/a", "gone/b")
    looked = 0

    def check() -> None:
        nonlocal looked
        looked += 1
        if looked == 2:  # The root has been listed, and one of the two is next.
            for name in ("open", "gone"):
                (tmp_path / name).rename(tmp_path / f"{name}-moved")
                (tmp_path / name).symlink_to("/etc")

    with Folder.opened(tmp_path) as root:
        found = select(root, [PlannedArtifacts(take=("open", "gone"))], most_files=10, check=check)
    assert paths(found) == []
    assert set(left_out(found)) == {"open", "gone"}
