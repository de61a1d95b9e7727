"""Limits on what an archive becomes, whatever its headers say."""

import random
import struct
import zipfile
from typing import Any

import pytest

from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import InvalidUpload, TooLarge
from ci_common.settings import Settings
from tests.helpers.untrusted import Case

MIB = 1024**2


def test_stops_at_the_limit_on_bytes(case: Case) -> None:
    noise = random.Random(1).randbytes(300_000)
    case.write(("a", noise), ("b", noise))
    with pytest.raises(TooLarge, match=r"member 'b' of 300000 bytes.* more than 500000 bytes.*CI_MAX_UNPACKED_BYTES"):
        case.unpack(UnpackLimits(bytes=500_000, members=10, ratio=200))
    assert sum(map(len, case.found().values())) <= 500_000


def test_stops_at_the_limit_on_the_ratio_and_names_the_file(case: Case) -> None:
    case.write(("a", "x"), ("zeros", bytes(32 * MIB)))
    with pytest.raises(TooLarge) as refused:
        case.unpack(UnpackLimits(bytes=2**40, members=10, ratio=200, ratio_free_bytes=16 * MIB))
    size = case.archive.stat().st_size
    assert str(refused.value) == (
        f"with member 'zeros' of {32 * MIB} bytes, the zip archive unpacks to more than 200 times its own size "
        f"of {size} bytes, which is looked at above {16 * MIB} bytes (CI_MAX_COMPRESSION_RATIO)"
    )
    assert sum(map(len, case.found().values())) <= 16 * MIB


def test_an_honest_tree_may_hold_zeros(case: Case) -> None:
    """The bytes that are written are what fills a disk; the ratio only tells early that they will be too many."""
    case.write(("pyproject.toml", "[project]"), ("zeros", bytes(17 * MIB)))
    case.unpack(UnpackLimits.of(Settings.from_env({})))
    assert len(case.found()["zeros"]) == 17 * MIB


def test_does_not_believe_the_size_in_the_headers(case: Case) -> None:
    case.write(("zeros", bytes(32 * MIB)))
    raw = bytearray(case.archive.read_bytes())
    struct.pack_into("<I", raw, 22, 10)
    struct.pack_into("<I", raw, raw.index(b"PK\x01\x02") + 24, 10)
    case.archive.write_bytes(raw)
    with pytest.raises((InvalidUpload, TooLarge)):
        case.unpack()
    assert sum(map(len, case.found().values())) <= 16 * MIB


def test_overlapping_members_count_as_often_as_they_are_written(case: Case) -> None:
    case.write(("a", bytes(4 * 1024**2)))
    raw = case.archive.read_bytes()
    start = raw.index(b"PK\x01\x02")
    end = raw.index(b"PK\x05\x06")
    entries = b"".join(raw[start:end].replace(b"a", bytes([ord("A") + n])) for n in range(20))
    locals_fixed = raw[:start]
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 20, 20, len(entries), start, 0)
    case.archive.write_bytes(locals_fixed + entries + tail)
    with pytest.raises((InvalidUpload, TooLarge)):
        case.unpack()


def test_stops_at_the_limit_on_members(case: Case) -> None:
    case.write(*((f"f{n}", "") for n in range(11)))
    with pytest.raises(TooLarge, match="more than 10 files"):
        case.unpack(UnpackLimits(bytes=100, members=10, ratio=200))
    assert case.found() == {}


def test_folders_that_are_only_named_as_parents_count(case: Case) -> None:
    case.write(*((f"{n}/a/b/c/d/file", "") for n in range(5)))
    with pytest.raises(TooLarge, match="more than 10 files and folders"):
        case.unpack(UnpackLimits(bytes=100, members=10, ratio=200))


def test_does_not_read_a_huge_list_of_members(case: Case) -> None:
    case.write(*((f"{n:0200d}", "") for n in range(3000)))
    with pytest.raises(TooLarge, match="list of members"):
        case.unpack(UnpackLimits(bytes=100, members=10, ratio=200))


def test_members_are_counted_before_they_are_taken_into_memory(case: Case) -> None:
    case.write(*((f"{n:0100d}", "") for n in range(3000)))
    before = zipfile.ZipInfo
    made = []

    class Counted(zipfile.ZipInfo):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            made.append(1)
            super().__init__(*arguments, **more)

    zipfile.ZipInfo = Counted  # type: ignore[misc]
    try:
        with pytest.raises(TooLarge, match=r"more than 2000 files.*CI_MAX_MEMBERS"):
            case.unpack(UnpackLimits(bytes=100, members=2000, ratio=200))
    finally:
        zipfile.ZipInfo = before  # type: ignore[misc]
    assert made == []
