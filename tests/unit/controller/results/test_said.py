"""What a job writes into the files of its outputs and its summary."""

import os
from pathlib import Path

import pytest

from ci_common.attempts.outcomes import MOST_OUTPUT_BYTES, MOST_OUTPUTS, MOST_SUMMARY_BYTES
from ci_controller.results.said import read_outputs, read_summary


def outputs(tmp_path: Path, content: bytes) -> tuple[dict[str, str], list[str]]:
    path = tmp_path / "outputs"
    path.write_bytes(content)
    return read_outputs(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", {}),
        (b"a=1\nb=\nc=x=y\n", {"a": "1", "b": "", "c": "x=y"}),
        (b"a=1\r\na=2", {"a": "2"}),
        (b"a<<EOF\none\n\nb=2\nEOF\nc=3\n", {"a": "one\n\nb=2", "c": "3"}),
        (b"a<<E\nE\n", {"a": ""}),
        (b"a=1<<2\n", {"a": "1<<2"}),
        ("größe=ü\n".encode(), {"größe": "ü"}),
        (b"a=\xff\0\n", {"a": "\ufffd\ufffd"}),
        (b"\n  \n", {}),
    ],
)
def test_outputs(tmp_path: Path, content: bytes, expected: dict[str, str]) -> None:
    assert outputs(tmp_path, content) == (expected, [])


@pytest.mark.parametrize(
    ("content", "kept", "problem"),
    [
        (b"a=1\nnothing\nb=2\n", {"a": "1", "b": "2"}, "line 2: 'nothing' is no output; write NAME=VALUE"),
        (b"a=1\nb<<END\nx\n", {"a": "1"}, "line 2: the value of b does not end with a line 'END'"),
        (b"b<<\nx=1\n", {}, "line 1: the value of b does not end"),
        (b" a=1\n", {}, "line 1: ' a' is no name"),
        (b"=1\n", {}, "line 1: '' is no name"),
    ],
)
def test_what_is_no_output_is_said(tmp_path: Path, content: bytes, kept: dict[str, str], problem: str) -> None:
    values, problems = outputs(tmp_path, content)
    assert values == kept
    assert len(problems) == 1
    assert problem in problems[0]


def test_outputs_are_bounded(tmp_path: Path) -> None:
    values, problems = outputs(tmp_path, b"".join(b"n%d=v\n" % number for number in range(MOST_OUTPUTS + 1)))
    assert len(values) == MOST_OUTPUTS
    assert f"n{MOST_OUTPUTS} is left out" in problems[0]
    half = b"x" * (MOST_OUTPUT_BYTES // 2)
    values, problems = outputs(tmp_path, b"a=%b\nb=%b\na=1\nc=%b\n" % (half, half, half))
    assert set(values) == {"a", "c"}, "a value that is replaced makes room"
    assert "b is left out" in problems[0]
    values, problems = outputs(tmp_path, b"a=1\n" * MOST_OUTPUT_BYTES)
    assert (values, len(problems)) == ({"a": "1"}, 1)


def test_a_summary_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"# All\n")
    assert read_summary(path) == ("# All\n", [])
    path.write_bytes(b"x" * (MOST_SUMMARY_BYTES + 1))
    text, problems = read_summary(path)
    assert (len(text), len(problems)) == (MOST_SUMMARY_BYTES, 1)


@pytest.mark.parametrize("kind", ["nothing", "directory", "fifo", "link"])
def test_anything_else_there_is_empty(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("a=1\n")
    path = tmp_path / "outputs"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "secret")
    assert read_outputs(path) == ({}, [])
    assert read_summary(path) == ("", [])
