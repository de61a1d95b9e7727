"""A log as it is shown: the same bytes however it is read, and whenever; its digest is that of what was shown."""

import base64
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_common.jobs import Job, State
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.masked_log import MOST_DECLARED, LiveLogs, MaskedLog, ShownLog
from ci_common.secrets.masks import Masks
from ci_common.secrets.ring import KeyRing
from ci_common.secrets.sealing import MaskKeeper
from tests.helpers.jobs import NOON

SECRET = "correct-horse-battery-staple"
LATER = "tr0ub4dor-and-3"


class Growing:
    """A log that grows piece by piece."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.size = 0

    def write(self, data: bytes) -> None:
        os.write(self.descriptor, data)
        self.size += len(data)

    def close(self) -> None:
        os.close(self.descriptor)


def final(path: Path, masks: Masks, whole: bytes) -> bytes:
    log, growing = MaskedLog(masks), Growing(path)
    growing.write(whole)
    log.finish(growing.descriptor, growing.size)
    try:
        return log.read(growing.descriptor, 0, growing.size, growing.size)
    finally:
        growing.close()


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Have threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_threads_that_look_at_once_miss_nothing(tmp_path: Path) -> None:
    filler = b"x" * 79 + b"\n"
    whole = b"".join(filler * 9_000 + f"::add-mask::value-number-{n}\n".encode() for n in range(20))
    whole += b"".join(f"value-number-{n}\n".encode() for n in range(20))
    log, growing = MaskedLog(Masks([SECRET])), Growing(tmp_path / "log")
    growing.write(whole)

    def look() -> None:
        while log.look_on(growing.descriptor, growing.size):
            pass

    with ThreadPoolExecutor(2) as threads:
        looking = [threads.submit(look) for _ in range(2)]
        assert log.shown(growing.descriptor, growing.size) == growing.size
        for each in looking:
            each.result()
    shown = log.read(growing.descriptor, 0, growing.size, growing.size)
    growing.close()
    assert b"value-number" not in shown
    assert shown == final(tmp_path / "log", Masks([SECRET]), whole)


PIECES = st.sampled_from(
    [
        SECRET.encode(),
        SECRET[:11].encode(),
        SECRET[11:].encode(),
        base64.b64encode(SECRET.encode()),
        b"\n",
        b"\r\n",
        b"\n::add-mask::" + LATER.encode() + b"\n",
        b"\nci:mask " + LATER.encode() + b"\n",
        b"::add-mask::" + LATER.encode(),
        b"\n::add-ma",
        b"sk::",
        LATER.encode(),
        LATER[:6].encode(),
        LATER[6:].encode(),
        b"::add-mask::the\n",
        b"x",
        b"c",
        b"\xff\xc3",
    ]
)


@given(pieces=st.lists(PIECES, max_size=12), data=st.data())
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_split_shows_the_same_bytes(tmp_path: Path, pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    expected = final(tmp_path / "final", Masks([SECRET]), whole)
    assert len(expected) == len(whole)
    assert SECRET.encode() not in expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    growing, log, got = Growing(tmp_path / "log"), MaskedLog(Masks([SECRET])), b""
    try:
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            growing.write(whole[start:end])
            shown = log.shown(growing.descriptor, growing.size)
            while len(got) < shown:
                size = data.draw(st.integers(1, 7))
                got += log.read(growing.descriptor, len(got), min(shown, len(got) + size), growing.size)
            late = ShownLog.of(MaskedLog(Masks([SECRET])), RunDirectory(tmp_path / "1"), growing.descriptor)
            assert late.size == shown
            assert late.read(shown // 2, shown + 5) == got[shown // 2 : shown]
        assert expected.startswith(got)
        log.finish(growing.descriptor, growing.size)
        assert got + log.read(growing.descriptor, len(got), growing.size, growing.size) == expected
    finally:
        growing.close()


@given(pieces=st.lists(PIECES, max_size=12))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_was_masked_is_not_masked_in_another_way_again(tmp_path: Path, pieces: list[bytes]) -> None:
    once = final(tmp_path / "log", Masks([SECRET]), b"".join(pieces))
    assert final(tmp_path / "log", Masks([SECRET]), once) == once


def test_a_value_is_masked_from_its_line_on(tmp_path: Path) -> None:
    text = f"{LATER}\n::add-mask::{LATER}\n{LATER}\n  ::add-mask::other-value-9\nother-value-9\n"
    hidden = "*" * len(LATER)
    expected = f"{LATER}\n::add-mask::{hidden}\n{hidden}\n  ::add-mask::other-value-9\nother-value-9\n"
    assert final(tmp_path / "log", Masks(), text.encode()).decode() == expected


@pytest.mark.parametrize("value", ["the", "1234", "password", " ", "x" * 9000])
def test_short_and_common_values_cannot_be_added(tmp_path: Path, value: str) -> None:
    text = f"::add-mask::{value}\nthe password is 1234 {value}\n".encode()
    assert final(tmp_path / "log", Masks(), text) == text


def test_a_log_adds_so_many_values_at_most(tmp_path: Path) -> None:
    lines = "".join(f"ci:mask value-{number:06}\n" for number in range(MOST_DECLARED + 1))
    shown = final(tmp_path / "log", Masks(), f"{lines}{lines}".encode()).decode()
    assert "value-000000" not in shown
    assert shown.count(f"value-{MOST_DECLARED:06}") == 2


def test_a_line_that_may_add_a_value_waits_for_its_end(tmp_path: Path) -> None:
    growing, log = Growing(tmp_path / "log"), MaskedLog(Masks())
    try:
        for data, shown in (
            (b"a\n:", 2),
            (b":add-mask::abc", 2),
            (b"defgh1", 2),
            (b"\n", 24),
            (b"ci:x", 28),
            (b"::", 30),
        ):
            growing.write(data)
            assert log.shown(growing.descriptor, growing.size) == shown, data
        assert log.read(growing.descriptor, 0, 30, 30) == b"a\n::add-mask::*********\nci:x::"
    finally:
        growing.close()


def test_lines_longer_than_a_chunk_are_passed_over(tmp_path: Path) -> None:
    text = b"x" * 600_000 + b"\n::add-mask::" + LATER.encode() + b"\n" + b"y" * 300_000 + LATER.encode() + b"\n"
    shown = final(tmp_path / "log", Masks([SECRET]), text)
    assert LATER.encode() not in shown
    assert len(shown) == len(text)


def test_what_is_masked_of_an_attempt(tmp_path: Path) -> None:
    keeper = MaskKeeper(KeyRing(tmp_path / "ring"))
    run = RunDirectory(tmp_path / "1")
    run.path.mkdir()
    run.log.write_text(f"{SECRET}\n")
    job = Job(id="job", type="container", state=State.RUNNING, submit_time=NOON, plan={"secrets": [{"name": "A"}]})
    descriptor = os.open(run.log, os.O_RDONLY)
    try:
        assert LiveLogs(keeper).shown(job, run, descriptor).size == 0, "it is not known what to mask"
        run.masks.write_text(keeper.seal([SECRET], job.id, 1))
        shown = LiveLogs(keeper).shown(job, run, descriptor)
        assert shown.read(0, 100) == b"*" * len(SECRET) + b"\n"
        (tmp_path / "ring").unlink()
        shown = LiveLogs(keeper).shown(job, run, descriptor)
        assert shown.read(0, 100) == b"*" * len(SECRET) + b"\n"
        run.log.write_text("something else\n")
        shown = LiveLogs(keeper).shown(job, run, descriptor)
        assert shown.read(0, 100) == b"*" * 14 + b"\n", "without the ring, all is masked"
        plain = replace(job, plan={})
        shown = LiveLogs(keeper).shown(plain, run, descriptor)
        assert shown.read(0, 100) == b"something else\n"
    finally:
        os.close(descriptor)
