"""When bytes of a log were written, as streams tell it."""

from pathlib import Path

import pytest

from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import CHUNK_BYTES, TIMES_SECONDS, LogTimes
from ci_server.streaming import attempt_files
from ci_server.streaming.attempt_files import AttemptFiles
from tests.helpers.jobs import NOON


class Clock:
    """The module's view of `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(attempt_files, "time", clock)
    return clock


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "1")
    run.path.mkdir()
    run.log.write_bytes(b"one\n")
    return run


def write(run: RunDirectory, data: bytes) -> None:
    """Have the job write, and the controller note it."""
    with run.log.open("ab") as log:
        log.write(data)
    LogTimes(run.times).append(NOON, run.log_size())


def test_what_was_written_long_before_it_is_read_has_the_time_of_the_index(run: RunDirectory, clock: Clock) -> None:
    files = AttemptFiles(run)
    assert files.read(0, CHUNK_BYTES) == b"one\n"
    write(run, b"two\n")
    clock.now += TIMES_SECONDS
    assert files.time_of(4) == NOON


def test_what_has_just_come_is_told_without_a_look_at_the_index(
    run: RunDirectory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = AttemptFiles(run)
    assert files.read(0, CHUNK_BYTES) == b"one\n"
    monkeypatch.delattr(LogTimes, "span_of")
    clock.now += TIMES_SECONDS / 2
    assert files.time_of(4) is None


def test_what_was_there_when_the_end_was_seen_has_the_time_of_the_index(run: RunDirectory, clock: Clock) -> None:
    write(run, b"two\n")
    files = AttemptFiles(run)
    assert files.read(4, CHUNK_BYTES) == b"two\n"
    assert files.time_of(0) == NOON
    clock.now += TIMES_SECONDS / 2
    assert files.time_of(7) == NOON


def test_as_long_as_no_end_was_seen_the_index_is_asked(run: RunDirectory, clock: Clock) -> None:
    write(run, b"two\n")
    files = AttemptFiles(run)
    assert files.read(0, 4) == b"one\n"
    clock.now = 0.0
    assert files.time_of(4) == NOON
