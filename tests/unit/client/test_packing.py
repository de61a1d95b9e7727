"""Packing: what goes in comes out, and what cannot go in is named."""

import io
import os
import socket
import stat
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_client.errors import PackingError
from ci_client.packing import archive as packing
from ci_client.packing.archive import open_project, pack_directory
from ci_client.packing.ignore import LEFT_OUT

needs_other_user = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def members(root: Path) -> dict[str, zipfile.ZipInfo]:
    with pack_directory(root).file as file:
        return {info.filename: info for info in zipfile.ZipFile(file).infolist()}


def content(root: Path) -> dict[str, bytes]:
    with pack_directory(root).file as file, zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_round_trip_with_modes_links_and_empty_directories(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "tool").chmod(0o755)
    (tmp_path / "secret").write_text("s")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("bin/tool")
    (tmp_path / "bin" / "up").symlink_to("../secret")
    (tmp_path / "dir-link").symlink_to("bin")
    (tmp_path / "dangling").symlink_to("not/there")
    (tmp_path / "ünï 'code'").write_bytes(b"\0\xff")
    found = members(tmp_path)
    modes = {name: info.external_attr >> 16 for name, info in found.items()}
    assert modes.pop("empty/deep/") & 0o170000 == stat.S_IFDIR
    assert modes["bin/tool"] == stat.S_IFREG | 0o755
    assert modes["secret"] == stat.S_IFREG | 0o600
    links = {name for name, mode in modes.items() if stat.S_ISLNK(mode)}
    assert links == {"link", "bin/up", "dir-link", "dangling"}
    inside = content(tmp_path)
    assert inside["bin/up"] == b"../secret"
    assert inside["ünï 'code'"] == b"\0\xff"
    assert "dir-link/tool" not in inside


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="/", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
            lambda name: name not in LEFT_OUT and not name.startswith(".") and len(name.encode()) < 200
        ),
        st.binary(max_size=300),
        min_size=1,
        max_size=5,
    )
)
def test_any_name_and_content(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    root = tmp_path_factory.mktemp("any")
    for name, data in files.items():
        (root / name).write_bytes(data)
    assert content(root) == files


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"f{number}").write_text(str(number))
    with pack_directory(tmp_path).file as one, pack_directory(tmp_path).file as other:
        assert one.read() == other.read()


@pytest.mark.parametrize(
    ("year", "expected"), [(0, 1980), (-(10**9), 1980), (5 * 10**9, 2107), (10**14, 2107), (10**9, 2001)]
)
def test_dates_an_archive_cannot_hold(tmp_path: Path, year: int, expected: int) -> None:
    path = tmp_path / "f"
    path.write_text("x")
    os.utime(path, (year, year))
    stored = members(tmp_path)["f"].date_time[0]
    # A file system may have clamped the date itself.
    assert stored == max(1980, min(2107, time.gmtime(path.stat().st_mtime)[0]))
    assert stored == expected or path.stat().st_mtime != year


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("out", "../secret"),
        ("sub/out", "../../secret"),
        ("out", "/etc/passwd"),
        ("out", "sub/../../secret"),
        ("out", "back/../secret"),
    ],
)
def test_links_that_leave_the_tree(tmp_path: Path, place: str, target: str) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "f").write_text("x")
    (tmp_path / "secret").write_text("s")
    if target.startswith("back"):
        (root / "back").symlink_to("sub/..")  # Stays inside; what goes through it does not.
    (root / place).symlink_to(target)
    with pytest.raises(PackingError, match=rf"link {place} .*\.ciignore"):
        pack_directory(root)
    (root / ".ciignore").write_text(f"/{place}\n")
    assert place not in members(root)


def test_an_absolute_link_into_the_tree_leaves_it_too(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    with pytest.raises(PackingError, match="link link"):
        pack_directory(tmp_path)


def test_sockets_and_pipes_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        archive = pack_directory(tmp_path)
    with archive.file:
        assert zipfile.ZipFile(archive.file).namelist() == ["f"]
    assert len(archive.notes) == 2
    assert "pipe" in archive.notes[0]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).write_text("x")
    with pytest.raises(PackingError, match=r"caf\\xe9"):
        pack_directory(tmp_path)
    (tmp_path / ".ciignore").write_bytes(b"caf\xe9\n")
    assert set(members(tmp_path)) == {".ciignore", "f"}


@pytest.mark.parametrize("files", [[], ["__pycache__/x.pyc"], ["empty/"]])
def test_nothing_to_send(tmp_path: Path, files: list[str]) -> None:
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith("/"):
            (tmp_path / path).touch()
    with pytest.raises(PackingError, match="no files"):
        pack_directory(tmp_path)


def test_a_zip_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"whatever")
    with open_project(tmp_path / "x.zip") as archive:
        assert archive.file.read() == b"whatever"
        assert (archive.size, archive.files) == (8, None)


@pytest.mark.parametrize("name", ["missing", "plain.txt", "missing.zip"])
def test_neither_directory_nor_zip(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain.txt").touch()
    with pytest.raises(PackingError, match=name), open_project(tmp_path / name):
        pass


def test_files_that_vanish_and_grow_while_packing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c", "d", "e", "f"):
        (tmp_path / name).write_bytes(name.encode() * 10)
    (tmp_path / "g").symlink_to("a")
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "only").touch()
    read = packing._read_leaf

    def meddle(leaf: packing.Leaf) -> object:
        if leaf.path == "a":  # All have been listed, and none has been read.
            (tmp_path / "b").unlink()
            (tmp_path / "c").write_bytes(b"c" * 5_000_000)
            (tmp_path / "d").unlink()
            os.mkfifo(tmp_path / "d")
            (tmp_path / "e").unlink()
            (tmp_path / "e").symlink_to("a")
            (tmp_path / "f").write_bytes(b"")
            (tmp_path / "g").unlink()
            (tmp_path / "g").touch()
            (tmp_path / "h" / "only").unlink()
        return read(leaf)

    monkeypatch.setattr(packing, "_read_leaf", meddle)
    archive = pack_directory(tmp_path)
    with archive.file, zipfile.ZipFile(archive.file) as packed:
        assert packed.namelist() == ["a", "c", "f", "h/"]
        assert len(packed.read("c")) == 5_000_000
        assert packed.testzip() is None
    assert archive.notes == [f"{name} vanished while packing" for name in ("b", "d", "e", "g", "h/only")]
    assert archive.unpacked_bytes == 5_000_010


def test_a_file_that_grows_as_quickly_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 3_000_000)
    read, rounds = packing.read_some, iter(range(20))

    def grow(descriptor: int, size: int) -> bytes:
        next(rounds)  # Ends a test that would not end.
        with path.open("ab") as file:
            file.write(b"y" * 1_500_000)
        return read(descriptor, size)

    monkeypatch.setattr(packing, "read_some", grow)
    archive = pack_directory(tmp_path)
    with archive.file, zipfile.ZipFile(archive.file) as packed:
        assert packed.read("log") == b"x" * 3_000_000
    assert archive.notes == ["log grew while packing; the bytes that came later are left out"]


@needs_other_user
def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "private").write_text("x")
    (tmp_path / "private").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        parent.chmod(parent.stat().st_mode | 0o011)
    for name, rest in (("closed", "private\n"), ("private", "closed\n")):
        (tmp_path / ".ciignore").write_text(rest)
        os.seteuid(65534)
        try:
            with pytest.raises(PackingError, match=rf"cannot read {name}/?: Permission denied.*\.ciignore"):
                pack_directory(tmp_path)
        finally:
            os.seteuid(0)


def test_leaves_nothing_behind_and_does_not_pack_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "f").write_text("x")
    assert set(members(tmp_path)) == {"f"}
    assert os.listdir(tmp_path) == ["f"]


def test_progress(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"y")
    told: list[tuple[int, int]] = []
    pack_directory(tmp_path, lambda files, size: told.append((files, size))).file.close()
    assert told == sorted(told)
    assert told[-1] == (2, 3_000_001)
    assert len(told) >= 4


def test_archive_is_readable_by_anybody(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    with pack_directory(tmp_path).file as file:
        assert zipfile.is_zipfile(io.BytesIO(file.read()))
