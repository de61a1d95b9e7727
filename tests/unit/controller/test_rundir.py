"""Preparing a run directory, opening its gate, and reading what a job could have tampered with."""

import errno
import os
import stat
from pathlib import Path

import pytest

from ci_common.run_directory.exits import ExitRecord
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.untrusted_files import open_regular
from ci_controller.run_directory.preparation import (
    clear,
    has_workspace,
    open_to_everyone,
    opened_gate,
    prepare,
    prepare_gate,
)
from ci_controller.run_directory.workspace import move_in, move_out


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "job" / "1")
    prepare(run, b"echo one", has_console=False)
    return run


def test_a_prepared_directory_has_all_that_a_script_needs(run: RunDirectory) -> None:
    assert {entry.name for entry in run.path.iterdir()} == {
        *("run", "job", "gate", "log", "workspace", "reports", "outputs", "summary.md"),
    }
    assert stat.S_ISFIFO(run.gate.lstat().st_mode)
    assert run.log_size() == 0
    assert not run.is_waiting()
    assert not run.is_started()
    assert run.read_exit() is None


def test_preparing_again_keeps_what_is_there_and_renews_the_script(run: RunDirectory) -> None:
    (run.workspace / "file").touch()
    prepare(run, b"echo two", has_console=False)
    assert (run.workspace / "file").exists()
    assert run.job.read_bytes() == b"echo two"


def test_opening_a_gate_that_nobody_waits_at_leaves_nothing_in_it(run: RunDirectory) -> None:
    with opened_gate(run):
        pass
    gate = os.open(run.gate, os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(gate, 100) == b""
    os.close(gate)


def test_an_open_gate_gives_its_word_to_one_that_comes_late(run: RunDirectory) -> None:
    with opened_gate(run):
        gate = os.open(run.gate, os.O_RDONLY | os.O_NONBLOCK)
        assert os.read(gate, 100) == b"go\n"
        os.close(gate)


def test_a_file_in_the_place_of_the_gate_is_not_written_to(run: RunDirectory) -> None:
    run.gate.unlink()
    run.gate.write_text("")
    with opened_gate(run):
        assert run.gate.read_text() == ""


def test_everyone_may_write_where_a_directory_is_opened_to_everyone(run: RunDirectory) -> None:
    (run.workspace / "folder").mkdir(mode=0o700)
    (run.workspace / "script").touch(mode=0o700)
    (run.workspace / "text").touch(mode=0o600)
    (run.workspace / "link").symlink_to("/etc")
    before = Path("/etc").stat().st_mode
    open_to_everyone(run)

    def mode(name: str) -> int:
        return stat.S_IMODE((run.path / name).lstat().st_mode)

    assert [mode(name) for name in (".", "workspace", "workspace/folder", "workspace/script")] == [0o777] * 4
    assert [mode(name) for name in ("gate", "log", "workspace/text")] == [0o666] * 3
    assert Path("/etc").stat().st_mode == before


@pytest.mark.parametrize(
    ("written", "record"),
    [
        (b"0\n", ExitRecord(0, terminated=False)),
        (b"143 term\n", ExitRecord(143, terminated=True)),
        (b"255\n", ExitRecord(255, terminated=False)),
        (b"256\n", None),
        (b"0", None),
        (b"14", None),
        (b"", None),
        (b"0\n0\n", None),
        (b"-1\n", None),
        (b"0" * 1000 + b"\n", None),
    ],
)
def test_an_exit_record_counts_only_when_it_is_complete(
    run: RunDirectory, written: bytes, record: ExitRecord | None
) -> None:
    run.exit.write_bytes(written)
    assert run.read_exit() == record


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "nothing"])
def test_only_regular_files_are_read(run: RunDirectory, kind: str) -> None:
    match kind:
        case "link":
            run.exit.symlink_to("/etc/passwd")
        case "pipe":
            os.mkfifo(run.exit)
        case "folder":
            run.exit.mkdir()
    with pytest.raises(FileNotFoundError):
        open_regular(run.exit)
    assert run.read_exit() is None


def test_a_file_that_cannot_be_opened_just_now_is_not_taken_for_absent(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.exit.write_bytes(b"0\n")

    def out_of_descriptors(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.open", out_of_descriptors)
    with pytest.raises(OSError, match="Too many open files"):
        run.read_exit()


@pytest.fixture
def waiting(tmp_path: Path) -> RunDirectory:
    """A directory in which a script has come to its gate."""
    waiting = RunDirectory(tmp_path / "pool" / "w")
    prepare_gate(waiting, has_console=False)
    waiting.waiting.touch(mode=0o600)
    return waiting


def project_of(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "jobs" / "j" / "1")
    (run.workspace / "a").mkdir(parents=True)
    (run.workspace / "a" / "text").write_text("hello")
    return run


def test_a_waiting_directory_becomes_the_jobs(tmp_path: Path, waiting: RunDirectory) -> None:
    run = project_of(tmp_path)
    gate = waiting.gate.lstat().st_ino
    assert move_in(run, waiting, b"the job")
    assert not waiting.path.exists()
    assert (run.workspace / "a" / "text").read_text() == "hello"
    assert (run.job.read_bytes(), run.gate.lstat().st_ino, run.is_waiting()) == (b"the job", gate, True)


def test_a_job_without_files_gets_an_empty_workspace(tmp_path: Path, waiting: RunDirectory) -> None:
    (tmp_path / "jobs").mkdir()
    run = RunDirectory(tmp_path / "jobs" / "j" / "1")
    assert move_in(run, waiting, b"the job")
    assert list(run.workspace.iterdir()) == []


def test_moving_in_can_be_gone_on_with(tmp_path: Path, waiting: RunDirectory) -> None:
    run = project_of(tmp_path)
    run.workspace.rename(waiting.workspace)
    assert move_in(run, waiting, b"the job")
    assert (run.workspace / "a" / "text").exists()


def test_what_is_in_the_way_is_not_overwritten(tmp_path: Path, waiting: RunDirectory) -> None:
    run = project_of(tmp_path)
    (run.path / "draft").touch()
    assert not move_in(run, waiting, b"the job")
    move_out(run, waiting)
    assert (run.path / "draft").exists()
    assert (run.workspace / "a" / "text").exists()


@pytest.mark.parametrize("moved", [False, True], ids=["before", "after"])
def test_moving_out_keeps_the_project(tmp_path: Path, waiting: RunDirectory, moved: bool) -> None:
    run = project_of(tmp_path)
    if moved:
        run.workspace.rename(waiting.workspace)
    for _ in range(2):
        move_out(run, waiting)
    assert (run.workspace / "a" / "text").read_text() == "hello"
    assert not has_workspace(waiting)


def test_a_directory_that_is_open_to_everyone_opens_what_moves_in_and_nothing_else(
    tmp_path: Path, waiting: RunDirectory
) -> None:
    """What the script has made belongs to the image's user, and cannot be changed by a controller that is not root."""
    waiting.path.chmod(0o777)
    run = project_of(tmp_path)
    (run.workspace / "a").chmod(0o700)
    assert move_in(run, waiting, b"the job")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (run.workspace / "a", run.job, run.waiting)}
    assert modes == {"a": 0o777, "job": 0o666, "waiting": 0o600}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A directory that is no job's, which links lead to."""
    canary = tmp_path / "canary"
    (canary / "workspace" / "inner").mkdir(parents=True)
    (canary / "text").write_text("mine")
    for place in (canary, canary / "workspace", canary / "text"):
        place.chmod(0o700)
    return canary


def seen(canary: Path) -> list[tuple[str, int, int]]:
    places = [canary, *sorted(canary.rglob("*"))]
    return [(str(place), place.stat().st_mode, place.stat().st_mtime_ns) for place in places]


def test_what_a_workload_left_before_its_gate_is_made_again(run: RunDirectory, canary: Path) -> None:
    """The engine would mount what a link leads to, into the next one."""
    before = seen(canary)
    for place in (run.gate, run.console, run.log, run.script, run.job):
        place.unlink(missing_ok=True)
        place.symlink_to(canary / "text")
    run.workspace.rmdir()
    run.workspace.symlink_to(canary)
    prepare(run, b"echo two", has_console=True)
    assert [path for path in run.path.rglob("*") if path.is_symlink()] == []
    assert all(stat.S_ISFIFO(fifo.lstat().st_mode) for fifo in (run.gate, run.console))
    assert list(run.workspace.iterdir()) == []
    assert seen(canary) == before


def test_a_workload_that_waits_cannot_lead_a_project_elsewhere(
    tmp_path: Path, waiting: RunDirectory, canary: Path
) -> None:
    waiting.path.chmod(0o777)
    waiting.job.symlink_to(canary / "text")
    waiting.workspace.symlink_to(canary)
    before = seen(canary)
    run = RunDirectory(tmp_path / "jobs" / "j" / "1")
    run.path.parent.mkdir(parents=True)
    assert move_in(run, waiting, b"the job")
    assert run.job.read_bytes() == b"the job"
    assert has_workspace(run)
    assert seen(canary) == before


def test_a_link_in_the_place_of_a_workspace_is_not_moved_out(
    tmp_path: Path, waiting: RunDirectory, canary: Path
) -> None:
    before = seen(canary)
    waiting.workspace.symlink_to(canary)
    run = RunDirectory(tmp_path / "jobs" / "j" / "1")
    move_out(run, waiting)
    assert not os.path.lexists(run.workspace)
    assert seen(canary) == before


def test_a_run_directory_that_is_a_link_is_not_cleared_elsewhere(run: RunDirectory, canary: Path) -> None:
    before = seen(canary)
    run.path.rename(run.path.with_name("aside"))
    run.path.symlink_to(canary)
    assert clear(run) == []
    assert not os.path.lexists(run.path)
    assert seen(canary) == before


def test_nothing_is_read_through_a_run_directory_that_is_a_link(run: RunDirectory, canary: Path) -> None:
    (canary / "exit").write_text("0\n")
    (canary / "log").write_text("of another job\n")
    run.path.rename(run.path.with_name("aside"))
    run.path.symlink_to(canary)
    assert run.read_exit() is None
    assert run.log_size() == 0
    with pytest.raises(FileNotFoundError):
        open_regular(run.log)


def test_links_in_a_run_directory_are_cleared_themselves(run: RunDirectory, canary: Path) -> None:
    before = seen(canary)
    run.workspace.rmdir()
    run.workspace.symlink_to(canary)
    (run.path / "other").symlink_to(canary / "text")
    (run.path / "folder").mkdir()
    assert clear(run) == [run.path / "folder"]
    assert {path.name for path in run.path.iterdir()} == {"log", "folder"}
    assert seen(canary) == before
