"""Which differences between two trees are told, and which say nothing about a setup."""

import io
import os
import tarfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from ci_common.environments import Comparison
from ci_common.runtime_faults import SetupFailed
from ci_controller.runtime.comparing import trees
from ci_controller.runtime.comparing.noise import normaliser_of
from ci_controller.runtime.comparing.process import compare_archives, compare_directories
from ci_controller.runtime.comparing.trees import TooMany, tree_of_archive

SOURCE = "lib/mod.py"
COMPILED = "lib/__pycache__/mod.cpython-312.pyc"
FILES = {"a": b"one", "bin/run": b"#!/bin/sh", SOURCE: b"x = 1", COMPILED: b"head" + bytes(12) + b"code"}


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "two"):
        write(tmp_path / name, FILES)
    return tmp_path / "one", tmp_path / "two"


def archive_of(root: Path) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(root, arcname="")
    return content.getvalue()


async def pieces(content: bytes, size: int = 1000) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def by_archives(one: Path, two: Path) -> Comparison:
    return await compare_archives(pieces(archive_of(one)), pieces(archive_of(two)))


async def by_directories(one: Path, two: Path) -> Comparison:
    return await compare_directories(one, one, two, two)


Compare = Callable[[Path, Path], "object"]
both = pytest.mark.parametrize("compare", [by_archives, by_directories])


def replaced(path: Path) -> None:
    path.unlink()
    path.symlink_to("one")


CHANGES: dict[str, tuple[Callable[[Path], object], list[tuple[str, str]]]] = {
    "content": (lambda root: (root / "a").write_bytes(b"two"), [("a", "content")]),
    "added": (lambda root: write(root, {"new/file": b""}), [("new", "added"), ("new/file", "added")]),
    "missing": (lambda root: (root / "bin/run").unlink(), [("bin/run", "missing")]),
    "mode": (lambda root: (root / "bin/run").chmod(0o755), [("bin/run", "mode")]),
    "kind": (lambda root: replaced(root / "a"), [("a", "kind")]),
    "pipe": (lambda root: os.mkfifo(root / "pipe"), [("pipe", "added")]),
    "not UTF-8": (lambda root: (root / os.fsdecode(b"\xff")).touch(), [("?", "added")]),
    "source": (lambda root: (root / SOURCE).write_bytes(b"x = 2"), [(SOURCE, "content")]),
}


@both
@pytest.mark.parametrize("name", CHANGES)
async def test_differences_are_told(compare: Compare, name: str, pair: tuple[Path, Path]) -> None:
    change, expected = CHANGES[name]
    change(pair[1])
    found = await compare(*pair)  # type: ignore[misc]
    assert [(each.path, each.how) for each in found.first] == expected
    assert (found.different, found.ignored) == (len(expected), {})


@both
async def test_what_a_link_leads_to_is_compared(compare: Compare, pair: tuple[Path, Path]) -> None:
    for root, target in zip(pair, ("one", "other"), strict=True):
        (root / "link").symlink_to(target)
    found = await compare(*pair)  # type: ignore[misc]
    assert [(each.path, each.how) for each in found.first] == [("link", "content")]


@both
async def test_times_are_not_compared(compare: Compare, pair: tuple[Path, Path]) -> None:
    write(pair[1], {COMPILED: b"head" + bytes(4) + b"time" + bytes(4) + b"code"})
    os.utime(pair[1] / "a", (1, 1))
    found = await compare(*pair)  # type: ignore[misc]
    assert (found.files, found.different, found.ignored) == (7, 0, {})


@both
async def test_what_python_compiled_is_told_by_its_source(compare: Compare, pair: tuple[Path, Path]) -> None:
    """It does not always write the same bytes, but it is made from the source and from nothing else."""
    write(pair[1], {COMPILED: b"head" + bytes(12) + b"the same code otherwise"})
    write(pair[0], {"lib/__pycache__/mod.cpython-312.opt-1.pyc": b""})
    found = await compare(*pair)  # type: ignore[misc]
    assert (found.different, found.ignored) == (0, {"compiled": 2})


@both
async def test_a_compiled_module_without_a_source_is_compared(compare: Compare, pair: tuple[Path, Path]) -> None:
    other = {"lib/__pycache__/gone.cpython-312.pyc": b"head" + bytes(12) + b"code", "lib/alone.pyc": b"one"}
    write(pair[0], other)
    write(pair[1], {name: content + b"!" for name, content in other.items()})
    found = await compare(*pair)  # type: ignore[misc]
    assert [each.path for each in found.first] == list(other)


@both
async def test_the_first_ones_are_named_and_all_are_counted(compare: Compare, pair: tuple[Path, Path]) -> None:
    write(pair[1], {f"file{number:03}": b"" for number in range(60)})
    found = await compare(*pair)  # type: ignore[misc]
    assert found.different == 60
    assert [each.path for each in found.first] == [f"file{number:03}" for number in range(50)]


async def test_each_directory_may_name_its_own_place(pair: tuple[Path, Path]) -> None:
    for root in pair:
        write(root, {"bin/pip": b"#!%s/bin/python\n" % bytes(root), COMPILED: b"head" + bytes(12) + bytes(root)})
        (root / "link").symlink_to(root / "a")
    assert (await by_directories(*pair)).different == 0
    write(pair[1], {"bin/pip": b"#!%s/bin/python\n" % bytes(pair[0])})
    assert [each.path for each in (await by_directories(*pair)).first] == ["bin/pip"]


async def test_a_virtual_environment_names_its_place_in_its_prompt_and_in_digests(pair: tuple[Path, Path]) -> None:
    record = "lib/thing-1.dist-info/RECORD"
    for root in pair:
        write(root, {"bin/activate": b'PS1="(%s) $PS1"\n' % root.name.encode()})
        write(root, {record: b"../../bin/thing,sha256=%s,12\nthing.py,,\n" % root.name.encode()})
    assert (await by_directories(*pair)).different == 0
    write(pair[1], {record: b"../../bin/other,sha256=two,12\nthing.py,,\n", "bin/activate": b"something else"})
    assert [each.path for each in (await by_directories(*pair)).first] == ["bin/activate", record]


async def test_hard_links_are_files(pair: tuple[Path, Path]) -> None:
    (pair[0] / "b").hardlink_to(pair[0] / "a")
    write(pair[1], {"b": b"one"})
    assert (await by_archives(*pair)).different == 0


@pytest.mark.parametrize("name", ["etc/hosts", ".dockerenv", "dev/console", "proc/1/cmdline"])
async def test_what_the_engine_puts_there_is_left_out(name: str, pair: tuple[Path, Path]) -> None:
    write(pair[1], {name: b"x", "etc/mine": b""})
    write(pair[0], {"etc/mine": b""})
    assert (await by_archives(*pair)).different == 0


async def test_logs_of_the_system_are_counted_apart(pair: tuple[Path, Path]) -> None:
    for root, text in zip(pair, (b"one", b"two"), strict=True):
        write(root, {"var/log/dpkg.log": text})
    found = await by_archives(*pair)
    assert (found.different, found.ignored) == (0, {"logs": 1})


@pytest.mark.parametrize("size", [0, 100, 700, 2000])
async def test_an_archive_that_ends_early_is_compared_with_nothing(size: int, pair: tuple[Path, Path]) -> None:
    whole = archive_of(pair[0])
    with pytest.raises(SetupFailed, match="cannot be compared"):
        await compare_archives(pieces(whole), pieces(whole[:size]))


async def test_a_directory_that_is_gone_is_compared_with_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SetupFailed, match="cannot be compared"):
        await by_directories(pair[0], tmp_path / "gone")


def test_no_tree_is_too_large_for_the_memory(monkeypatch: pytest.MonkeyPatch, pair: tuple[Path, Path]) -> None:
    monkeypatch.setattr(trees, "MOST", 3)
    with pytest.raises(TooMany):
        tree_of_archive(io.BytesIO(archive_of(pair[0])))


def entry(time: int, output: str = "b") -> bytes:
    return f"v1 {'a' * 64} {output * 64} {123:20} {time:20}\n".encode()


def test_entries_of_the_cache_of_go_are_compared_without_their_times() -> None:
    normaliser = normaliser_of(f"root/.cache/go-build/00/{'0' * 64}-a")
    assert normaliser is not None
    assert normaliser(entry(1)) == normaliser(entry(1_700_000_000_000_000_000))
    assert normaliser(entry(1)) != normaliser(entry(1, "c"))
    assert normaliser(b"something else 1\n") == b"something else 1\n"
    trim = normaliser_of("root/.cache/go-build/trim.txt")
    assert trim is not None
    assert trim(b"1700000000") == trim(b"1700000001")
    assert trim(b"one") != trim(b"two")
