"""The archive's format: what the server and other programs make of it, at its limits, too."""

import os
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_client.errors import PackingError
from ci_client.packing import archive as packing
from ci_client.packing import zipwriter
from ci_client.packing.archive import pack_directory
from ci_client.packing.zipwriter import DEFLATED, STORED, About, Content, ZipWriter
from tests.helpers.untrusted import Case

NAME = st.text(st.sampled_from("aC:\\ .é-\n"), min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))


def described(root: Path) -> dict[str, object]:
    """Return all that the server keeps of a tree: contents, links, executable bits, empty directories."""
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_file():
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
        elif not any(path.iterdir()):
            found[name] = "empty"
    return found


def sent_to_the_server(root: Path, scratch: Path) -> Path:
    case = Case(scratch)
    with pack_directory(root).file as file, case.archive.open("wb") as upload:
        shutil.copyfileobj(file, upload)
    case.unpack()
    return case.target


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.lists(NAME, min_size=1, max_size=3).map("/".join),
        st.one_of(st.binary(max_size=40), st.sampled_from(["", "dir", "../x", "C:/x", "/etc", "a", "a/../.."])),
        min_size=1,
        max_size=6,
    )
)
def test_the_server_takes_whatever_is_packed(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes | str]
) -> None:
    root = tmp_path_factory.mktemp("root")
    for name, content in members.items():
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
                path.chmod(0o755 if len(content) % 2 else 0o600)
            elif content == "dir":
                path.mkdir()
            elif content:
                path.symlink_to(content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError, OSError):
            pass  # Two names that cannot both be there.
    try:
        target = sent_to_the_server(root, tmp_path_factory.mktemp("server"))
    except PackingError:
        return  # Told before anything is sent.
    assert described(target) == described(root)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A directory for a tree that is too deep for Python's own `mkdir` and `rmtree`, which call themselves."""
    yield tmp_path / "root"
    subprocess.run(["rm", "-r", tmp_path / "root"], check=True)


def test_directories_deeper_than_calls_can_be(deep: Path) -> None:
    deepest = Path(*["d"] * 1000)
    subprocess.run(["mkdir", "-p", deep / deepest], check=True)
    (deep / deepest / "f").write_text("deep")
    with pack_directory(deep).file as file:
        assert zipfile.ZipFile(file).namelist() == [f"{deepest}/f"]
    subprocess.run(["mkdir", "-p", deep / deepest / "e" / ("n" * 100)], check=True)
    with pytest.raises(PackingError, match=r"too long a path.* 2048 .*\.ciignore"):
        pack_directory(deep)


@pytest.mark.parametrize("name", ["C:/f", "c:/sub/", "D:\\f"])
def test_names_that_servers_take_for_drives(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").touch()
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with pytest.raises(PackingError, match=r"[CcD]:.*Windows drive.*rename.*\.ciignore"):
        pack_directory(tmp_path)
    (tmp_path / ".ciignore").write_text("?:*\n")
    pack_directory(tmp_path).file.close()


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[1m", "\x7f", "\x85é"])
def test_names_with_control_characters(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").touch()
    (tmp_path / name).touch()
    with pytest.raises(PackingError, match=r"\\(x[0-9a-f]{2}|n).* control character.*rename.*\.ciignore"):
        pack_directory(tmp_path)


@pytest.mark.parametrize("name", ["C:", "C:f", "sub/C:/f", "CC:/f", "1:/f"])
def test_names_that_only_look_like_drives(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / name).parent.mkdir(parents=True)
    (root / name).write_text("x")
    scratch = tmp_path / "server"
    scratch.mkdir()
    assert (sent_to_the_server(root, scratch) / name).read_text() == "x"


def test_links_in_circles_lead_nowhere_and_are_kept(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to("a")
    (root / "b").symlink_to("c")
    (root / "c").symlink_to("./b")
    (root / "here").symlink_to(".")
    with pack_directory(root).file as file:
        archive = zipfile.ZipFile(file)
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "a": b"a",
            "b": b"c",
            "c": b"./b",
            "here": b".",
        }


def test_more_members_than_the_old_format_counts(tmp_path: Path) -> None:
    with (tmp_path / "x.zip").open("wb") as file:
        writer = ZipWriter(file)
        for number in range(70_000):
            writer.add(About(str(number), stat.S_IFREG | 0o644, 10**9), Content.of(b""))
        writer.close()
    assert len(zipfile.ZipFile(tmp_path / "x.zip").namelist()) == 70_000


@pytest.mark.parametrize("most", [10, 150, 1100])
def test_sizes_beyond_the_old_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Sizes from `most` on are written as if they were gigabytes; readers go by what the records say."""
    contents = {"a": b"a" * 100, "b": os.urandom(1000), "c": b"", "d": b"d" * 200}
    # What is beyond counts as `_MOST`, which every reader knows as the sign to look elsewhere.
    monkeypatch.setattr(zipwriter, "_is_beyond", lambda number: number >= most)
    with (tmp_path / "x.zip").open("wb") as file:
        writer = ZipWriter(file)
        for name, content in contents.items():
            if name == "b":
                member = writer.begin(About(name, stat.S_IFREG | 0o644, 10**9), may_be_large=True, method=STORED)
                member.write(content[:300])
                member.write(content[300:])
                member.close()
            else:
                writer.add(About(name, stat.S_IFREG | 0o755, 10**9), Content.of(content))
        writer.close()
    assert b"PK\6\6" in (tmp_path / "x.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tq", tmp_path / "x.zip"], check=True)


def test_a_member_that_gets_larger_than_was_allowed_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipwriter, "_is_beyond", lambda number: number >= 1_000_000)
    (tmp_path / "growing").write_bytes(os.urandom(2_000_000))
    with pytest.raises(PackingError, match="growing grows"):
        pack_directory(tmp_path)


@pytest.mark.parametrize(
    ("content", "method"),
    [
        *((b"text " * size, DEFLATED) for size in (10, 10_000, 200_000)),
        *((os.urandom(size), STORED) for size in (10, 20_000, 1_000_000)),
        (b"", STORED),
        (os.urandom(20_000) + b"text" * 20_000, DEFLATED),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, bytes) else "",
)
def test_what_gets_smaller_is_compressed(tmp_path: Path, content: bytes, method: int) -> None:
    (tmp_path / "f").write_bytes(content)
    with pack_directory(tmp_path).file as file, zipfile.ZipFile(file) as archive:
        assert archive.getinfo("f").compress_type == method
        assert archive.read("f") == content


@pytest.mark.skipif(shutil.which("unzip") is None, reason="there is no unzip")
def test_other_programs_read_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "empty").mkdir(parents=True)
    (root / "ünï").write_bytes(os.urandom(500_000) + b"x" * 500_000)
    (root / "tool").write_text("#!/bin/sh\n")
    (root / "tool").chmod(0o755)
    (root / "link").symlink_to("tool")
    with pack_directory(root).file as file:
        (tmp_path / "x.zip").write_bytes(file.read())
    subprocess.run(["unzip", "-q", tmp_path / "x.zip", "-d", tmp_path / "out"], check=True)
    assert described(tmp_path / "out") == described(root)


def test_one_thread_packs_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        (tmp_path / f"{number}").write_bytes(b"x" * number * 3000)
    with pack_directory(tmp_path).file as file:
        several = file.read()
    monkeypatch.setattr(packing, "_MOST_THREADS", 1)
    with pack_directory(tmp_path).file as file:
        assert file.read() == several
