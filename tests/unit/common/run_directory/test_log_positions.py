"""Finding lines and characters from the end of a log."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_common.run_directory import last_lines as searching
from ci_common.run_directory.last_lines import last_lines
from ci_common.run_directory.output import character_start

Opened = Callable[[bytes], int]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    descriptors = []

    def make(content: bytes) -> int:
        (tmp_path / "log").write_bytes(content)
        descriptors.append(os.open(tmp_path / "log", os.O_RDONLY))
        return descriptors[-1]

    yield make
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"a\nb\nc\n", 1, b"c\n"),
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc\n", 3, b"a\nb\nc\n"),
        (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
        (b"a\nb\nc", 1, b"c"),
        (b"a\nb\nc", 0, b""),
        (b"\n\n\n", 2, b"\n\n"),
        (b"", 5, b""),
        (b"x" * 200_000 + b"\n" + b"y" * 200_000, 1, b"y" * 200_000),
        (b"x" * 200_000 + b"\n" + b"y" * 200_000 + b"\n", 2, b"x" * 200_000 + b"\n" + b"y" * 200_000 + b"\n"),
    ],
)
def test_last_lines(opened: Opened, content: bytes, lines: int, expected: bytes) -> None:
    assert content[last_lines(opened(content), len(content), lines) :] == expected


def test_last_lines_agrees_with_splitting(opened: Opened) -> None:
    content = b"".join(b"%d " % n * (n % 40) + b"\n" for n in range(5000))
    descriptor = opened(content)
    for lines in (1, 7, 100, 4999, 5000, 5001):
        expected = b"".join(content.splitlines(keepends=True)[-lines:])
        assert content[last_lines(descriptor, len(content), lines) :] == expected


def test_looks_back_only_so_far(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MAX_TAIL_BYTES", 10)
    content = b"0123456789\n12\n45\n78\n"
    assert content[last_lines(opened(content), len(content), 100) :] == b"12\n45\n78\n"
    assert last_lines(opened(b"x" * 30), 30, 1) == 20


@pytest.mark.parametrize("text", ["aä€😀z", "😀😀"])
def test_character_start(opened: Opened, text: str) -> None:
    content = text.encode()
    descriptor = opened(content)
    starts = [len(text[:n].encode()) for n in range(len(text) + 1)]
    for offset in range(len(content) + 1):
        assert character_start(descriptor, offset) == max(start for start in starts if start <= offset)


def test_character_start_before_the_end_of_a_sequence(opened: Opened) -> None:
    assert character_start(opened("a€".encode()[:3]), 3) == 1
    assert character_start(opened(b"a\n"), 2) == 2


def test_character_start_leaves_bytes_that_are_no_text(opened: Opened) -> None:
    descriptor = opened(b"\x80\x80\x80\x80\xe4\x80\n")
    assert [character_start(descriptor, n) for n in range(5)] == [0, 1, 2, 3, 4]
