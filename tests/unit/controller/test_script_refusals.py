"""What the script tells of the kernel's counters, whichever version of control groups and whichever shell it is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from ci_common.run_directory.exits import ExitRecord
from ci_common.run_directory.layout import RunDirectory
from ci_controller.run_directory import preparation
from tests.helpers import scripts
from tests.helpers.scripts import SHELLS, ScriptRun, as_sh, plan_of, shell_steps

VERSIONS = {
    1: {"memory": "memory/memory.oom_control", "pids": "pids/pids.events", "cpu": "cpu/cpu.stat"},
    2: {"memory": "memory.events", "pids": "pids.events", "cpu": "cpu.stat"},
}


@pytest.fixture(params=SHELLS, ids=lambda path: path.name)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return as_sh(request.param, tmp_path)


class Groups:
    """Counters as files, in a place of the test's own."""

    def __init__(self, root: Path, version: int) -> None:
        own = root if version == 1 else root / own_group()
        self.files = {name: own / path for name, path in VERSIONS[version].items()}
        for file in self.files.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        self.files["memory"].write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
        self.files["pids"].write_text("max 7\n")
        self.files["cpu"].write_text("nr_periods 0\nnr_throttled 0\n")

    def counting(self, name: str, text: str) -> str:
        """Return shell text that makes a counter say `text`."""
        return f"echo '{text}' >'{self.files[name]}'"


def own_group() -> str:
    """Return the control group of this process, of version 2, relative to the root."""
    lines = Path("/proc/self/cgroup").read_text().splitlines() if Path("/proc/self/cgroup").exists() else []
    return next((line.removeprefix("0::/") for line in lines if line.startswith("0::")), "")


@pytest.fixture(params=VERSIONS)
def groups(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Groups]:
    root = tmp_path / "the group"
    counting = b"__ci_cgroups=%s\n__ci_cgroup=%s\n" % (
        preparation.quote(str(root)),
        preparation.quote(f"/{own_group()}"),
    )
    write_script = preparation.write_script
    with patch.object(scripts, "write_script", lambda *args, **given: counting + write_script(*args, **given)):
        yield Groups(root, request.param)


def ended(shell: Path, tmp_path: Path, *steps: str) -> ExitRecord | None:
    """Return the record without what the job has used."""
    record = whole_record(shell, tmp_path, *steps)
    return None if record is None else replace(record, use={})


def whole_record(shell: Path, tmp_path: Path, *steps: str) -> ExitRecord | None:
    one = ScriptRun(RunDirectory(tmp_path / "run"), shell, plan_of(*shell_steps(*steps)))
    try:
        one.execute()
        return one.run.read_exit()
    finally:
        one.kill()


def test_nothing_happened(shell: Path, tmp_path: Path, groups: Groups) -> None:
    record = ended(shell, tmp_path, "exit 3")
    assert record == ExitRecord(3, terminated=False, oom_kills=0, refused_forks=0)


def test_what_happened_in_the_step_that_failed(shell: Path, tmp_path: Path, groups: Groups) -> None:
    text = f"{groups.counting('memory', 'oom_kill 7')}; {groups.counting('pids', 'max 8')}; exit 3"
    assert ended(shell, tmp_path, text) == ExitRecord(3, terminated=False, oom_kills=2, refused_forks=1)


def test_what_happened_in_a_step_before(shell: Path, tmp_path: Path, groups: Groups) -> None:
    record = ended(shell, tmp_path, groups.counting("memory", "oom_kill 9"), "exit 3")
    assert record == ExitRecord(3, terminated=False, oom_kills=0, refused_forks=0)


def test_how_often_the_job_was_held_back(shell: Path, tmp_path: Path, groups: Groups) -> None:
    counters = "nr_periods 200\nnr_throttled 50\nthrottled_time 1234567890123"
    record = ended(shell, tmp_path, f"{groups.counting('cpu', counters)}; exit 3")
    assert record == ExitRecord(3, terminated=False, oom_kills=0, refused_forks=0, throttled_percent=25)


def test_a_kernel_that_counts_nothing(shell: Path, tmp_path: Path, groups: Groups) -> None:
    for file in groups.files.values():
        file.unlink()
    assert ended(shell, tmp_path, "exit 3") == ExitRecord(3, terminated=False)


def test_a_job_that_succeeded_is_not_asked_why(shell: Path, tmp_path: Path, groups: Groups) -> None:
    assert ended(shell, tmp_path, groups.counting("pids", "max 9")) == ExitRecord(0, terminated=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_job_has_used(shell: Path, tmp_path: Path, groups: Groups, version: int) -> None:
    used = {
        1: {
            "cpuacct/cpuacct.usage": "1234567\n",
            "memory/memory.max_usage_in_bytes": "4096\n",
            "blkio/blkio.throttle.io_service_bytes": "8:0 Read 5\n8:0 Write 6\n8:16 Read 1\nTotal 12\n",
        },
        2: {
            "cpu.stat": "usage_usec 1234\nuser_usec 1\nnr_periods 0\n",
            "memory.peak": "4096\n",
            "io.stat": "8:0 rbytes=5 wbytes=6 rios=1 wios=1 dios=0\n9:0\n8:16 rbytes=1 wbytes=0\n",
        },
    }
    root = tmp_path / "the group" / (own_group() if version == 2 else "")
    for name, text in used[version].items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    record = whole_record(shell, tmp_path, "exit 0")
    assert record is not None
    networks = {name: record.use[name] for name in ("received", "sent")}
    assert record.use == {"cpu": 1234, "mem": 4096, "read": 6, "written": 6, **networks}


def test_outside_of_a_container_the_counters_are_not_the_jobs(shell: Path, tmp_path: Path) -> None:
    assert ended(shell, tmp_path, "exit 3") == ExitRecord(3, terminated=False)


def test_a_shell_that_has_to_end_still_says_how(shell: Path, tmp_path: Path) -> None:
    """As one has to that cannot start a process; an error in its own text ends it in the same way."""
    with patch.object(preparation, "_STEP", b"\n: ${nobody_has_set_this:?}\n"):
        record = ended(shell, tmp_path, "echo never")
    assert record is not None
    assert record.code != 0
