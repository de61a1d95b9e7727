"""What keeps a log as it is where the kernel does not, and what is noticed of it."""

import os
import subprocess
from pathlib import Path

import pytest

from ci_common.jobs import Job, State
from ci_common.run_directory.exits import ExitRecord
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import LogTimes
from ci_controller.execution import files
from ci_controller.execution.files import LogGuard, damage_of, protect_log
from tests.helpers.jobs import NOON

NOBODY = 65534
JOB = Job(id="job", type="container", state=State.RUNNING, submit_time=NOON, plan={"steps": [{}, {}]})
RECORDS = (
    '{"step":0,"event":"start","uptime":"1.00","offset":"0"}\n'
    '{"step":0,"event":"end","code":0,"uptime":"2.00","offset":"4"}\n'
)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "1")
    run.path.mkdir()
    run.log.write_bytes(b"one\n")
    run.steps.write_text(RECORDS)
    return run


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
@pytest.mark.parametrize("text", ["echo two >/dev/fd/1", "echo two | tee /dev/fd/2", "echo two >/proc/$$/fd/2"])
def test_a_user_who_is_not_root_cannot_truncate_a_log(
    run: RunDirectory, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "make_append_only", lambda _: False)
    os.chown(run.log, NOBODY, NOBODY)
    with run.log.open("ab") as output:
        protect_log(run)
        subprocess.run(["/bin/sh", "-c", text], stdout=output, stderr=output, user=NOBODY, check=False)
        subprocess.run(["/bin/echo", "three"], stdout=output, user=NOBODY, check=True)
    assert run.log.read_bytes().startswith(b"one\n")
    assert run.log.read_bytes().endswith(b"three\n")


def damage(run: RunDirectory, code: int = 0) -> str | None:
    return damage_of(JOB, run, ExitRecord(code, terminated=False))


def test_a_log_that_is_whole(run: RunDirectory) -> None:
    assert damage(run) is None
    assert damage_of(JOB, run, None) is None


@pytest.mark.parametrize("records", ["", RECORDS[57:], "forged\n", '{"step":1,"event":"start"}\n'])
def test_a_record_of_steps_that_does_not_begin_with_the_first(run: RunDirectory, records: str) -> None:
    run.steps.write_text(records)
    assert "steps.jsonl" in (damage(run) or "")


def test_a_job_whose_first_step_never_began_has_no_record(run: RunDirectory) -> None:
    run.steps.unlink()
    assert damage(run, code=1) is None


def test_a_log_that_is_shorter_than_its_steps_or_its_times_say(run: RunDirectory) -> None:
    run.log.write_bytes(b"on\n")
    assert "had 4 bytes and ended with 3" in (damage(run) or "")
    LogTimes(run.times).append(NOON, 17)
    assert "had 17 bytes and ended with 3" in (damage(run) or "")


@pytest.mark.parametrize(
    ("content", "noticed"),
    [(b"one\ntwo\n", False), (b"one\n", False), (b"", True), (b"o", True), (b"two\n", True), (b"two\nthree\n", True)],
)
def test_a_guard_notices_what_has_gone(run: RunDirectory, content: bytes, noticed: bool) -> None:
    guard = LogGuard(run)
    assert guard.look() == 4
    with run.log.open("r+b") as file:
        file.truncate(0)
        file.write(content)
    assert guard.look() == len(content)
    assert (guard.damage is not None) is noticed
    guard.close()


@pytest.mark.parametrize("replacement", [None, "file", "link", "directory"])
def test_a_guard_puts_back_what_was_removed(run: RunDirectory, replacement: str | None) -> None:
    guard = LogGuard(run)
    with run.log.open("ab") as output:
        run.log.unlink()
        if replacement == "file":
            run.log.write_bytes(b"other\n")
        elif replacement == "link":
            run.log.symlink_to("/etc/hostname")
        elif replacement == "directory":
            (run.log / "inner").mkdir(parents=True)
        output.write(b"two\n")
    guard.look()
    assert guard.damage is not None
    guard.restore()
    assert not run.log.is_symlink()
    assert run.log.read_bytes() == b"one\ntwo\n"
    guard.close()
    guard.close()
