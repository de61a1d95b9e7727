"""The command line as a process against a scripted server: signals, pipes, terminals."""

import os
import pty
import signal
from pathlib import Path

import pytest

from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer, wait_until
from tests.helpers.service import SCRIPTED_LOG, started
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[bytes]


def test_what_every_job_waits_for_is_told_only_where_it_takes_long(server: ScriptedServer) -> None:
    reason = {"code": "waiting_for_controller", "message": "no controller runs"}
    waiting = {"status": "queued", "reason": reason}
    brief = server.add(ScriptedJob(b"x", statuses=[waiting, {"status": "running", "reason": None}]))
    with started(server, "wait", "--all", brief.job_id) as process:
        assert b"no controller runs" not in process.communicate(timeout=PATIENCE)[1]
    long = server.add(ScriptedJob(b"x", statuses=[waiting], hold_at=0))
    with started(server, "wait", "--all", long.job_id) as process:
        assert process.stderr is not None
        wait_until(lambda: b"waiting: no controller runs" in process.stderr.readline())  # type: ignore[union-attr]


def test_ctrl_c_detaches(server: ScriptedServer, project: Path) -> None:
    job = server.next_job = ScriptedJob(SCRIPTED_LOG, hold_at=9, chunk=9)
    with started(server, "run", project) as process:
        wait_until(job.held.is_set)
        assert process.stdout is not None
        assert process.stdout.read(9) == SCRIPTED_LOG[:9]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert job.cancels == 0
    assert f"ci wait --server {server.url} {job.job_id} --all" in err.decode()
    assert b"Traceback" not in err
    assert out == b""


def test_second_ctrl_c_cancels(server: ScriptedServer, project: Path) -> None:
    job = server.next_job = ScriptedJob(SCRIPTED_LOG, hold_at=9, chunk=9)
    with started(server, "run", project) as process:
        wait_until(job.held.is_set)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        wait_until(lambda: b"Ctrl-C again" in process.stderr.readline())  # type: ignore[union-attr]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert job.cancels == 1
    assert b"Traceback" not in err


def test_sigterm_detaches_at_once(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(SCRIPTED_LOG, hold_at=9, chunk=9))
    with started(server, "wait", job.job_id, "--all") as process:
        wait_until(job.held.is_set)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"ci wait" in err
    assert b"Ctrl-C again" not in err


def test_ctrl_c_while_packing(server: ScriptedServer, project: Path) -> None:
    # So much that its packing has not ended when the signal comes.
    (project / "big").write_bytes(os.urandom(1024) * 200_000)
    with started(server, "run", project) as process:
        zip_open = Path(f"/proc/{process.pid}/fd")
        wait_until(
            lambda: any("ci-project" in _target(link) or "deleted" in _target(link) for link in zip_open.iterdir())
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert not server.uploads


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def test_a_reader_that_goes_away_is_no_matter(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(b"0123456789\n" * 100_000, chunk=60_000, conclusion="failed", exit_code=7))
    for command, expected in ((["wait", "--all"], 7), (["logs"], 141), (["logs", "-f"], 141)):
        with started(server, *command, job.job_id) as process:
            assert process.stdout is not None
            process.stdout.read(10)
            process.stdout.close()
            assert process.stderr is not None
            err = process.stderr.read()
            assert process.wait(PATIENCE) == expected
        assert b"Traceback" not in err
        assert b"BrokenPipe" not in err


def test_ctrl_c_while_the_reader_of_the_log_sleeps(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(b"0123456789\n" * 100_000, chunk=60_000))
    with started(server, "wait", "--all", job.job_id) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        wait_until(lambda: b"detached" in process.stderr.readline())  # type: ignore[union-attr]
        assert process.wait(PATIENCE) == 130


def test_large_logs_arrive_whole_through_a_pipe(server: ScriptedServer) -> None:
    log = os.urandom(3_000_000)
    job = server.add(ScriptedJob(log, chunk=65_536))
    with started(server, "wait", "--all", job.job_id) as process:
        assert process.communicate(timeout=PATIENCE)[0] == log
    assert process.returncode == 0


def test_on_a_terminal_messages_begin_their_own_line(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(b"no newline"))
    master, slave = pty.openpty()
    with started(server, "wait", "--all", job.job_id, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        try:
            while chunk := os.read(master, 4096):
                shown += chunk
        except OSError:
            pass  # What a terminal says at its end.
        process.wait(PATIENCE)
    os.close(master)
    assert b"no newline\r\n" in shown
    assert b"succeeded: exit code 0, after 2.5 s\r\n" in shown
