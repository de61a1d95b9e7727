"""Archives that jobs have packed: what is kept, and what is refused whatever a job has written into it."""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_controller.caches.archives import UnsafeArchive, check_archive

Change = Callable[[tarfile.TarInfo], None]


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def packed(*entries: tarfile.TarInfo, form: int = tarfile.GNU_FORMAT) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        for each in entries:
            archive.addfile(each, io.BytesIO(bytes(each.size)))
    return content.getvalue()


def checked(tmp_path: Path, content: bytes, name: str = "pip") -> int:
    path = tmp_path / "archive"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return check_archive(descriptor, name)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("form", ["gnu", "posix", "ustar"])
def test_what_tar_packs_is_kept(tmp_path: Path, form: str) -> None:
    tree = tmp_path / "pip"
    deep = tree / "/".join(["folder" * 5] * 4)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x" * 1000)
    (tree / "empty").touch()
    (tree / "hard").hardlink_to(deep / "file")
    (tree / "link").symlink_to("/anywhere" * 9)
    with (tmp_path / "made").open("wb") as output:
        subprocess.run(["tar", f"--format={form}", "-cf", "-", "-C", tmp_path, "pip"], stdout=output, check=True)
    assert checked(tmp_path, (tmp_path / "made").read_bytes()) == 9


def test_names_of_any_length_are_kept(tmp_path: Path) -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        long = "pip/" + "n" * 200 + "/é"
        assert checked(tmp_path, packed(entry(long), entry("pip/l", tarfile.SYMTYPE, "t" * 200), form=form)) == 2


REFUSED = {
    "a device": [entry("pip/null", tarfile.CHRTYPE)],
    "a block device": [entry("pip/disk", tarfile.BLKTYPE)],
    "a FIFO": [entry("pip/fifo", tarfile.FIFOTYPE)],
    "a sparse file": [entry("pip/sparse", tarfile.GNUTYPE_SPARSE)],
    "an absolute name": [entry("/pip/a")],
    "a name above": [entry("pip/../../etc/passwd")],
    "another name": [entry("other/a")],
    "a name that begins alike": [entry("pip2")],
    "a link in the place of the cache": [entry("pip", tarfile.SYMTYPE, "/etc")],
    "a file below a link": [entry("pip/l", tarfile.SYMTYPE, "/etc"), entry("pip/l/passwd")],
    "a file deep below a link": [entry("pip/l", tarfile.SYMTYPE, ".."), entry("pip/./l/a/b")],
    "a file in the place of a link": [entry("pip/l", tarfile.SYMTYPE, "/etc/passwd"), entry("pip/l")],
    "a hard link to elsewhere": [entry("pip/h", tarfile.LNKTYPE, "/etc/passwd")],
    "a hard link to what follows": [entry("pip/h", tarfile.LNKTYPE, "pip/a"), entry("pip/a")],
    "a hard link to a link": [entry("pip/l", tarfile.SYMTYPE, "/x"), entry("pip/h", tarfile.LNKTYPE, "pip/l")],
    "nothing": [],
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_could_reach_out_of_it_is_refused(tmp_path: Path, what: str, form: int) -> None:
    with pytest.raises(UnsafeArchive):
        checked(tmp_path, packed(*REFUSED[what], form=form))


def long_name(name: str) -> bytes:
    made = tarfile.TarInfo("././@LongLink")
    made.type, made.size = tarfile.GNUTYPE_LONGNAME, len(name) + 1
    content = name.encode() + b"\0"
    return made.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


GOOD = entry("pip/a").tobuf(tarfile.GNU_FORMAT)
END = bytes(1024)
DAMAGED = {
    "cut": packed(entry("pip/a"))[:512],
    "cut within a file": GOOD.replace(b"00000000000\0", b"00000001000\0", 1) + END,
    "another checksum": GOOD[:-1] + b"x" + END,
    "noise": b"x" * 4096,
    "two names": long_name("pip/b") + long_name("../c") + GOOD + END,
    "a name that reaches out": long_name("pip/../../b") + GOOD + END,
    "entries after the end": GOOD + bytes(512) + entry("/etc/x").tobuf(tarfile.GNU_FORMAT) + END,
    "an endless name": long_name("pip/" + "n" * 70_000) + GOOD + END,
}


@pytest.mark.parametrize("what", DAMAGED)
def test_what_is_not_an_archive_is_refused(tmp_path: Path, what: str) -> None:
    assert checked(tmp_path, GOOD + END) == 1
    with pytest.raises(UnsafeArchive):
        checked(tmp_path, DAMAGED[what])


@pytest.mark.parametrize("headers", [{"GNU.sparse.major": "1"}, {"size": "99"}, {"path": "../x"}, {"linkpath": "/x"}])
def test_extended_headers_do_not_hide_anything(tmp_path: Path, headers: dict[str, str]) -> None:
    made = entry("pip/h", tarfile.LNKTYPE, "pip/a") if "linkpath" in headers else entry("pip/h")
    made.pax_headers = headers
    with pytest.raises(UnsafeArchive):
        checked(tmp_path, packed(entry("pip/a"), made, form=tarfile.PAX_FORMAT))


def test_links_inside_are_kept_wherever_they_lead(tmp_path: Path) -> None:
    assert checked(tmp_path, packed(entry("pip", tarfile.DIRTYPE), entry("pip/l", tarfile.SYMTYPE, "/usr/bin"))) == 2
