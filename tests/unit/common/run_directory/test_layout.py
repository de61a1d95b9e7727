"""Reading what a job could have tampered with."""

import errno
import os
import socket
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ci_common.run_directory.exits import ExitRecord
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.run_directory.untrusted_files import open_regular, read_capped


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "secret").write_text("0\n")
    directory = RunDirectory(tmp_path / "1")
    directory.path.mkdir()
    return directory


def as_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def as_link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "secret")


def as_loop(path: Path) -> None:
    path.symlink_to(path)


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


TRICKS = [as_link, as_loop, as_device, as_socket, os.mkfifo, os.mkdir]


@pytest.mark.parametrize("trick", TRICKS)
def test_nothing_but_regular_files_is_read(
    run: RunDirectory, trick: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.path)  # Sockets have short names only.
    before = os.listdir("/proc/self/fd") if Path("/proc").exists() else []
    for path in (run.exit, run.log, run.steps):
        trick(path if trick is not as_socket else Path(path.name))
        with pytest.raises(FileNotFoundError):
            open_regular(path)
        assert read_capped(path, 10) is None
    assert run.read_exit() is None
    assert run.log_size() == 0
    assert run.started_uptime() is None
    if before:
        assert os.listdir("/proc/self/fd") == before


def test_a_missing_file_is_none(run: RunDirectory) -> None:
    assert read_capped(run.path / "absent", 10) is None
    assert read_capped(run.exit / "below", 10) is None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_what_says_nothing_about_the_file_is_not_absence(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run.exit.write_text("0\n")

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        run.read_exit()


def test_reads_are_capped(run: RunDirectory) -> None:
    with run.log.open("wb") as file:
        file.truncate(2**40)
    assert read_capped(run.log, 5) == bytes(5)
    assert run.log_size() == 2**40


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"0\n", ExitRecord(0, terminated=False)),
        (b"255\n", ExitRecord(255, terminated=False)),
        (b"143 term\n", ExitRecord(143, terminated=True)),
        (b"137 oom:1 pids:0\n", ExitRecord(137, terminated=False, oom_kills=1, refused_forks=0)),
        (b"143 term oom:0 pids:2 throttled:100\n", ExitRecord(143, True, 0, 2, 100)),
        (b"0 last\n", ExitRecord(0, terminated=False, last=True)),
        (b"143 term oom:0 pids:2 throttled:100 last\n", ExitRecord(143, True, 0, 2, 100, last=True)),
        (b"137 killed\n", ExitRecord(137, terminated=False, killed=True)),
        (b"137 term killed\n", ExitRecord(137, terminated=True, killed=True)),
        (b"2 pids:3\n", ExitRecord(2, terminated=False, refused_forks=3)),
        (b"0 cpu:5 sent:0 last\n", ExitRecord(0, terminated=False, last=True, use={"cpu": 5, "sent": 0})),
        (b"1 oom:0 mem:7 killed\n", ExitRecord(1, False, 0, killed=True, use={"mem": 7})),
        (b"0 last cpu:5\n", None),
        (b"0 cpu:-5\n", None),
        (b"0 gpu:5\n", None),
        (b"2 pids:-3\n", None),
        (b"2 pids:3 oom:1\n", None),
        (b"2 oom:1", None),
        (b"", None),
        (b"0", None),
        (b"143 term", None),
        (b"256\n", None),
        (b"-1\n", None),
        (b"0\n0\n", None),
        (b"0\r\n", None),
        (b" 0\n", None),
        (b"0 kill\n", None),
        (b"9999999999999999\n", None),
        ("٣\n".encode(), None),
        (b"\xff\n", None),
        (bytes(1_000_000), None),
    ],
)
def test_the_exit_record(run: RunDirectory, content: bytes, expected: ExitRecord | None) -> None:
    run.exit.write_bytes(content)
    assert run.read_exit() == expected


def test_marks(run: RunDirectory) -> None:
    assert not run.is_waiting()
    assert not run.is_started()
    assert run.started_uptime() is None
    (run.path / "waiting").touch()
    (run.path / "started").write_text("123.45")
    assert run.is_waiting()
    assert run.is_started()
    assert run.started_uptime() == 123.45


def test_when_the_log_grew(run: RunDirectory) -> None:
    assert run.log_growth() == (0, None)
    run.log.write_bytes(b"abc")
    os.utime(run.log, (0, 1_700_000_000))
    assert run.log_growth() == (3, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))


def test_when_the_gate_opened(run: RunDirectory) -> None:
    assert run.started_at() is None
    (run.path / "started").symlink_to("nowhere")
    os.utime(run.path / "started", (0, 1_700_000_000), follow_symlinks=False)
    assert run.started_at() == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize("content", ["", "soon", "1.2.3"])
def test_a_start_mark_without_uptime(run: RunDirectory, content: str) -> None:
    (run.path / "started").write_text(content)
    assert run.is_started()
    assert run.started_uptime() is None


def test_the_data_directory_is_closed_to_others(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "a" / "b")
    data.create()
    data.create()
    assert stat.S_IMODE(data.path.stat().st_mode) == 0o700
    assert data.incoming.is_dir()
    assert data.run("j", 2).path == data.jobs / "j" / "2"
    assert data.upload("j") == data.jobs / "j" / "upload.zip"


def test_the_times_lie_outside_of_what_is_mounted(run: RunDirectory) -> None:
    assert run.times.parent == run.path.parent
    assert run.times.name == "1.times"
