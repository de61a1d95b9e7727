"""Each way in which an archive may be hostile, one by one; and that honest ones arrive as they were."""

import errno
import io
import os
import random
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import InvalidUpload, TooLarge
from tests.helpers.untrusted import Case, link, member


def test_files_arrive_byte_for_byte(case: Case) -> None:
    noise = random.Random(1).randbytes(700_000)
    case.write(("a.txt", "text"), ("deep/er/b.bin", noise), ("empty/", ""), ("./dotted//c", "c"), ("zero", b""))
    case.unpack()
    assert case.found() == {"a.txt": b"text", "deep/er/b.bin": noise, "dotted/c": b"c", "zero": b""}
    assert (case.target / "empty").is_dir()


def test_keeps_the_executable_bit_and_no_other_mode(case: Case) -> None:
    case.write(
        (member("run", stat.S_IFREG | 0o6755), "#!"),
        (member("plain", stat.S_IFREG | 0o4644), ""),
        (member("secret", stat.S_IFREG | 0o600), ""),
        (member("windows", 0, system=0), ""),
    )
    case.unpack()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in case.target.iterdir()}
    umask = os.umask(0)
    os.umask(umask)
    plain = 0o644 & ~umask
    assert modes == {"run": 0o755 & ~umask, "plain": plain, "secret": plain, "windows": plain}


def test_makes_links_that_stay_inside(case: Case) -> None:
    case.write((link("a/to-b"), "../b/file"), ("b/file", "content"), (link("dangling"), "nowhere"), (link("dir"), "b"))
    case.unpack()
    assert (case.target / "a/to-b").read_bytes() == b"content"
    assert os.readlink(case.target / "dangling") == "nowhere"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/..", "..", "/x", "/etc/passwd", "//x", "a/./../../x"])
def test_refuses_names_that_leave(case: Case, name: str) -> None:
    case.write(("fine", ""), (name, "bad"))
    with pytest.raises(InvalidUpload, match=r"leads out|absolute"):
        case.unpack()
    assert not (case.target.parent / "x").exists()


def test_takes_backslashes_of_windows_as_folders(case: Case) -> None:
    case.write((member("dir\\file", 0, system=0), "x"))
    case.unpack()
    assert case.found() == {"dir/file": b"x"}


@pytest.mark.parametrize("name", ["..\\x", "a\\..\\..\\x", "\\x", "C:\\x"])
def test_refuses_names_of_windows_that_leave(case: Case, name: str) -> None:
    case.write((member(name, 0, system=0), "bad"))
    with pytest.raises(InvalidUpload, match=r"leads out|absolute"):
        case.unpack()


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "a/../../outside", "", "x\0y"])
def test_refuses_links_that_leave(case: Case, target: str) -> None:
    case.write(("a/file", ""), (link("link"), target))
    with pytest.raises(InvalidUpload, match="leads out of the project"):
        case.unpack()


def test_refuses_a_link_that_leaves_by_way_of_another(case: Case) -> None:
    case.write(("a/b/file", ""), (link("up"), "a/b"), (link("out"), "up/../../.."))
    with pytest.raises(InvalidUpload, match="leads out of the project"):
        case.unpack()


def test_writes_nothing_through_a_link(case: Case, tmp_path: Path) -> None:
    case.write((link("dir"), "elsewhere"), ("dir/file", "bad"))
    with pytest.raises(InvalidUpload, match="both a file and a folder"):
        case.unpack()


def test_a_file_in_place_of_a_link_is_a_duplicate(case: Case) -> None:
    case.write((link("x"), "target"), (member("./x", stat.S_IFREG | 0o644), "bad"))
    with pytest.raises(InvalidUpload, match="twice"):
        case.unpack()


def test_refuses_a_link_with_a_huge_target(case: Case) -> None:
    case.write((link("x"), "y" * 100_000))
    with pytest.raises(InvalidUpload, match="4095"):
        case.unpack()


def test_refuses_a_link_to_a_name_that_no_file_can_have(case: Case) -> None:
    case.write((link("x"), "a/" + "é" * 128))
    with pytest.raises(InvalidUpload, match="link 'x' has a target with a name of more than 255 bytes"):
        case.unpack()


def test_a_link_to_the_longest_name_can_be_looked_at(case: Case) -> None:
    case.write((link("x"), "/".join(["n" * 255] * 15)))
    case.unpack()
    assert not (case.target / "x").is_dir()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_refuses_duplicates(case: Case) -> None:
    case.write(("a", "1"), ("a", "2"))
    with pytest.raises(InvalidUpload, match="twice"):
        case.unpack()


@pytest.mark.parametrize("order", [("a", "a/b"), ("a/b", "a")])
def test_refuses_a_file_that_is_also_a_folder(case: Case, order: tuple[str, str]) -> None:
    case.write(*((name, "") for name in order))
    with pytest.raises(InvalidUpload, match="both a file and a folder"):
        case.unpack()


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_refuses_special_files(case: Case, kind: int) -> None:
    case.write((member("special", kind | 0o644), ""))
    with pytest.raises(InvalidUpload, match="neither a file"):
        case.unpack()


@pytest.mark.parametrize("name", ["n" * 256, "/".join(["folder"] * 400), "ä" * 128])
def test_refuses_names_too_long_for_a_disk(case: Case, name: str) -> None:
    case.write((name, ""))
    with pytest.raises(InvalidUpload, match="too long"):
        case.unpack()


def test_refuses_an_empty_archive(case: Case) -> None:
    case.write()
    with pytest.raises(InvalidUpload, match="empty"):
        case.unpack()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + b"\0" * 100, b"\0" * 100_000])
def test_refuses_what_is_no_zip(case: Case, content: bytes) -> None:
    case.archive.write_bytes(content)
    with pytest.raises(InvalidUpload, match="not a zip archive"):
        case.unpack()


def test_refuses_a_truncated_archive(case: Case) -> None:
    case.write(("a", random.Random(1).randbytes(10_000)))
    case.archive.write_bytes(case.archive.read_bytes()[:-5_000])
    with pytest.raises(InvalidUpload, match="not a zip archive"):
        case.unpack()


def test_refuses_an_encrypted_archive(case: Case) -> None:
    case.write(("a", "secret"))
    raw = bytearray(case.archive.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    case.archive.write_bytes(raw)
    with pytest.raises(InvalidUpload, match="encrypted"):
        case.unpack()


def test_refuses_a_wrong_checksum(case: Case) -> None:
    with zipfile.ZipFile(case.archive, "w") as archive:
        archive.writestr("a", "content of the file")
    case.archive.write_bytes(case.archive.read_bytes().replace(b"content", b"CONTENT"))
    with pytest.raises(InvalidUpload, match="CRC"):
        case.unpack()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_refuses_methods_that_inflate_without_bound(case: Case, method: int) -> None:
    with zipfile.ZipFile(case.archive, "w", method) as archive:
        archive.writestr("a", bytes(10_000_000))
    with pytest.raises(InvalidUpload, match="another method"):
        case.unpack()


def test_reads_names_in_utf8_that_are_not_marked_so(case: Case) -> None:
    case.write(("grüße.txt", "x"))
    raw = bytearray(case.archive.read_bytes())
    for offset in (6, raw.index(b"PK\x01\x02") + 8):
        flags = struct.unpack_from("<H", raw, offset)[0]
        struct.pack_into("<H", raw, offset, flags & ~0x800)
    case.archive.write_bytes(raw)
    case.unpack()
    assert list(case.found()) == ["grüße.txt"]


def test_any_damage_is_an_error_of_the_upload(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dir/file", "some text " * 20)
        archive.writestr(link("link"), "dir/file")
    honest = buffer.getvalue()
    chance = random.Random(7)
    outcomes = set()
    for number in range(600):
        raw = bytearray(honest)
        for _ in range(chance.randint(1, 4)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        folder = tmp_path / str(number)
        folder.mkdir()
        case = Case(folder)
        case.archive.write_bytes(raw)
        try:
            case.unpack()
            outcomes.add("fine")
        except (InvalidUpload, TooLarge):
            outcomes.add("refused")
    assert outcomes == {"fine", "refused"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\0b", r"'a\\x00b' has the character U\+0000"),
        ("a\nb", r"'a\\nb' has the character U\+000A"),
        ("dir\x1b[2J/x", r"'dir\\x1b\[2J/x' has the character U\+001B"),
        ("a\x7f", r"U\+007F"),
        ("a\x85", r"U\+0085"),
    ],
)
def test_names_with_characters_that_are_none_are_refused_by_name(case: Case, name: str, shown: str) -> None:
    placeholder = name.replace("\0", "?")
    case.write((placeholder, "x"))
    case.archive.write_bytes(case.archive.read_bytes().replace(placeholder.encode(), name.encode()))
    with pytest.raises(InvalidUpload, match=shown):
        case.unpack()


def test_a_name_that_is_half_a_surrogate_pair_is_refused_by_name(case: Case) -> None:
    case.write(("ä??.txt", "x"))
    case.archive.write_bytes(case.archive.read_bytes().replace("ä??".encode(), b"x\xed\xa0\x80"))
    with pytest.raises(InvalidUpload, match=r"member b'x\\xed\\xa0\\x80.txt' has a name that is not the UTF-8"):
        case.unpack()


@pytest.mark.parametrize("name", ["C:/x", "./C:/x", "c:/a/b"])
def test_a_drive_letter_is_refused_with_what_to_do(case: Case, name: str) -> None:
    case.write((name, "bad"))
    with pytest.raises(InvalidUpload, match=r"drive letter.*rename the folder '[Cc]:'") as refused:
        case.unpack()
    assert name in str(refused.value)


def test_refuses_folders_that_are_too_deep_by_name(case: Case) -> None:
    case.write(("a/" * 254 + "f", "x"))
    case.unpack()
    case.write(("b/" * 990 + "f", ""))
    with pytest.raises(InvalidUpload, match=r"member 'b/b/.* is too deep: at most 255 names"):
        case.unpack()


def test_damage_is_told_with_the_members_name(case: Case) -> None:
    case.write(("fine", "x"), ("broken", "some text " * 100))
    raw = bytearray(case.archive.read_bytes())
    raw[raw.index(b"broken") + 10] ^= 0xFF
    case.archive.write_bytes(raw)
    with pytest.raises(InvalidUpload, match="member 'broken' cannot be unpacked"):
        case.unpack()


def test_what_the_file_system_cannot_have_is_told_with_the_members_name(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENAMETOOLONG, "File name too long")

    monkeypatch.setattr(os, "symlink", refuse)
    case.write((link("to"), "/".join(["x" * 200] * 10)))
    with pytest.raises(InvalidUpload, match="member 'to' cannot be unpacked: File name too long"):
        case.unpack()


def test_a_disk_that_takes_a_part_is_asked_to_take_the_rest(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reluctant(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data)[:1000])

    monkeypatch.setattr(
        "ci_common.archives.unpack.open", lambda descriptor, *_, **__: Reluctant(descriptor, "wb"), raising=False
    )
    content = random.Random(3).randbytes(5_500)
    case.write(("a", content))
    case.unpack()
    assert case.found()["a"] == content
