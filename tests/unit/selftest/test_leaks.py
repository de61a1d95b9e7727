"""What is left behind: the self-test must see it, and must not take for a leak what is the product's to keep."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_selftest.leaks import age_submissions, leaked_files
from ci_selftest.scratch import Scratch, abandoned, kill_processes_of, processes_of, scratch_directory
from tests.helpers.waiting import PATIENCE

JOBS = ("a", "b")
KEPT = (
    "ca-certificates.crt",
    "incoming/",
    "processes/ended",
    "jobs/a/1/log",
    "jobs/a/1/steps.jsonl",
    "jobs/a/1/run.json",
    "jobs/a/1.times",
    "jobs/a/1.closed",
    "jobs/a/1.services/db.log",
    "environments/",
    "downloads/x/uv/wheel",
    "jobs/a/upload.zip",
    "jobs/b/",
    "pool/w/gate",
)
LEFT = (
    "core",
    "incoming/x/upload.zip",
    "processes/a.1/lock",
    "processes/.removed-a.1-1/lock",
    "jobs/a/1/run",
    "jobs/a/1/run.new",
    "jobs/a/1/workspace/file",
    "jobs/a/1/started",
    "jobs/a/uncommitted",
    "jobs/b/upload.zip",
    "jobs/c/1/log",
    "jobs/c/1.services/db.log",
    "jobs/a/1.services/db.new",
    "jobs/a/x.services/db.log",
    "environments/x/build.json",
    "pool/v/gate",
)


def put(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(b"")


def test_what_completed_jobs_leave_is_no_leak(tmp_path: Path) -> None:
    put(tmp_path, *KEPT)
    assert leaked_files(DataDirectory(tmp_path), JOBS, with_uploads=["a"], waiting=["w"]) == []


@pytest.mark.parametrize("name", LEFT)
def test_anything_else_is_one(tmp_path: Path, name: str) -> None:
    put(tmp_path, *KEPT, name)
    assert name in leaked_files(DataDirectory(tmp_path), JOBS, with_uploads=["a"], waiting=["w"])


def test_what_goes_while_it_is_looked_at_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "incoming/x/file", "incoming/y/file", "incoming/z/file")
    scandir, looked = os.scandir, list[Any]()

    def look(path: Any) -> Any:
        looked.append(path)
        if len(looked) == 3:
            shutil.rmtree(tmp_path / "incoming")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", look)
    leaked_files(DataDirectory(tmp_path), JOBS, with_uploads=[])
    assert leaked_files(DataDirectory(tmp_path), JOBS, with_uploads=[]) == []


def test_only_submissions_are_made_to_look_old(tmp_path: Path) -> None:
    put(tmp_path, "incoming/x/1/workspace/file", "jobs/a/uncommitted", "jobs/a/1/log", "jobs/b/1/log")
    age_submissions(DataDirectory(tmp_path))
    now = time.time()
    old = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.lstat().st_mtime < now - 86400}
    assert old == {
        "incoming",
        "incoming/x",
        "incoming/x/1",
        "incoming/x/1/workspace",
        "incoming/x/1/workspace/file",
        "jobs/a",
        "jobs/a/uncommitted",
        "jobs/a/1",
        "jobs/a/1/log",
    }


def test_a_scratch_directory_goes_unless_it_is_kept(tmp_path: Path) -> None:
    with scratch_directory(tmp_path, "process") as scratch:
        assert scratch.runtime() == "process"
    assert list(tmp_path.iterdir()) == []
    with scratch_directory(tmp_path, "docker") as scratch:
        kept = scratch.keep()
    assert list(tmp_path.iterdir()) == [kept]


def test_a_directory_is_abandoned_once_its_run_has_gone(tmp_path: Path) -> None:
    with scratch_directory(tmp_path, "process") as alive:
        dead = tmp_path / "run-dead"
        dead.mkdir()
        with abandoned(tmp_path) as found:
            assert [scratch.path for scratch in found] == [dead]
        assert not dead.exists()
        assert alive.path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")
def test_processes_are_found_by_the_directory_and_no_others(tmp_path: Path) -> None:
    ours = Scratch(tmp_path / "run-abc")
    ours.path.mkdir()
    sleep = ["sleep", "60"]
    by_directory = subprocess.Popen(sleep, cwd=ours.path)
    by_variable = subprocess.Popen(sleep, env={**os.environ, "CI_DB_PATH": str(ours.database)})
    by_word = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(ours.path)])
    other = subprocess.Popen(sleep, cwd=tmp_path)
    try:
        assert {by_directory.pid, by_variable.pid, by_word.pid} <= set(processes_of(ours))
        assert other.pid not in processes_of(ours)
        assert kill_processes_of(ours) >= 3
        assert [p.wait(PATIENCE) for p in (by_directory, by_variable, by_word)] == [-9, -9, -9]
        assert other.poll() is None
    finally:
        for process in (by_directory, by_variable, by_word, other):
            process.kill()
            process.wait()
