"""`ci` without a server: the real API and controller in the command's own process, on both runtimes."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_common.run_directory.layout import KEPT
from tests.helpers.service import Start, Terminal, containers, ended, interrupt, next_line, said, terminals, tree

HELD = "echo held; while ! [ -e go ]; do sleep 0.05; done; echo let go; exit 7"


@pytest.fixture
def environment(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Nothing is configured, so that the database lies in the state directory."""
    with tempfile.TemporaryDirectory(prefix="e2e-", dir="/tmp") as temporary:  # Sockets need short names.
        yield environment | {"CI_DB_PATH": "", "TMPDIR": temporary}


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    with terminals(environment) as start:
        yield start


@pytest.fixture
def leaves_nothing(environment: dict[str, str], runtime: str, tmp_path: Path) -> Iterator[None]:
    """At the end no container, process, socket or file of a run is left, at once."""
    yield
    assert str(tmp_path) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert runtime == "process" or not containers(environment["CI_CONTAINER_PREFIX"])
    runs = (tmp_path / "state" / "ci-server" / "ci_jobs.data").glob("jobs/*/1/*")
    assert {path.name for path in runs} <= KEPT
    assert os.listdir(environment["TMPDIR"]) == []


@pytest.fixture
def let_go(tmp_path: Path) -> Callable[[str], None]:
    """A function that lets a job go on that is `HELD`."""

    def let_go(job_id: str) -> None:
        (tmp_path / "state" / "ci-server" / "ci_jobs.data" / "jobs" / job_id / "1" / "workspace" / "go").touch()

    return let_go


def held(start: Start, image: str) -> tuple[Terminal, str]:
    """Start a job that is held; return its command, after its first line, and its id."""
    process = start("exec", image, "--", "sh", "-c", HELD)
    job_id = said(process, "ci: job ").split()[-1]
    assert next_line(process) == b"held\n"
    return process, job_id


def conclusion(start: Start, job_id: str) -> str | None:
    job: dict[str, str | None] = json.loads(ended(start("status", "--json", job_id))[1])
    return job["conclusion"]


@pytest.mark.usefixtures("leaves_nothing")
def test_run_gives_exact_bytes_and_the_exit_code(start: Start, runtime: str, shell_image: str, tmp_path: Path) -> None:
    project = tree(tmp_path / "project", {"say.sh": "printf 'caf\\351\\0\\377 no newline'; exit 9\n"})
    code, out, err = ended(start("run", project, "--image", shell_image, "--", "sh", "./say.sh"))
    assert (code, out) == (9, b"caf\xe9\0\xff no newline"), err
    assert ("jobs are not isolated" in err) == (runtime == "process")
    assert "failed: exit code 9" in err
    assert all(line.startswith("ci: ") for line in err.splitlines())
    job_id = json.loads(ended(start("list", "--json"))[1])[0]["job_id"]
    assert ended(start("logs", job_id))[:2] == (0, out)
    assert ended(start("wait", job_id[:20], "--all"))[:2] == (9, out)
    assert ended(start("retry", job_id))[:2] == (9, out)


@pytest.mark.usefixtures("leaves_nothing")
def test_several_terminals_at_once(start: Start, shell_image: str, let_go: Callable[[str], None]) -> None:
    first, job_id = held(start, shell_image)
    second, other_id = held(start, shell_image)
    listed = json.loads(ended(start("list", "--json", "--status", "running"))[1])
    assert {job["job_id"] for job in listed} == {job_id, other_id}
    waiting, following = start("wait", job_id, "--all"), start("logs", "-f", job_id)
    assert next_line(waiting) == next_line(following) == ended(start("logs", job_id))[1] == b"held\n"
    let_go(job_id)
    let_go(other_id)
    for process, expected in ((first, 7), (second, 7), (waiting, 7), (following, 0)):
        code, out, err = ended(process)
        assert (code, out) == (expected, b"let go\n"), err


@pytest.mark.usefixtures("leaves_nothing")
def test_ctrl_c_leaves_the_job_and_wait_comes_back(
    start: Start, shell_image: str, let_go: Callable[[str], None]
) -> None:
    process, job_id = held(start, shell_image)
    interrupt(process)
    code, _, err = ended(process)
    assert code == 130
    assert f"the job goes on. Come back to it with: ci wait {job_id} --all" in err
    let_go(job_id)
    assert ended(start("wait", job_id, "--all"))[:2] == (7, b"held\nlet go\n")


@pytest.mark.usefixtures("leaves_nothing")
def test_kill_9_and_wait_comes_back(
    start: Start, shell_image: str, environment: dict[str, str], let_go: Callable[[str], None]
) -> None:
    process, job_id = held(start, shell_image)
    process.kill()
    process.communicate()
    (abandoned,) = Path(environment["TMPDIR"]).iterdir()
    os.utime(abandoned, (0, 0))
    let_go(job_id)
    assert ended(start("wait", job_id, "--all"))[:2] == (7, b"held\nlet go\n")


@pytest.mark.usefixtures("leaves_nothing")
def test_second_ctrl_c_really_ends_the_job(start: Start, shell_image: str) -> None:
    process = start("exec", shell_image, "--", "sh", "-c", "echo ready; exec sleep 600")
    job_id = said(process, "ci: job ").split()[-1]
    assert next_line(process) == b"ready\n"
    interrupt(process)
    said(process, "Ctrl-C again")
    interrupt(process)
    assert ended(process)[0] == 130
    assert conclusion(start, job_id) == "cancelled"


@pytest.mark.usefixtures("leaves_nothing")
def test_cancel_from_elsewhere(start: Start, shell_image: str) -> None:
    process, job_id = held(start, shell_image)
    assert ended(start("cancel", job_id))[0] == 0
    assert ended(process)[0] == 130
    code, _, err = ended(start("cancel", job_id))
    assert (code, "has completed already" in err) == (64, True)


@pytest.mark.usefixtures("leaves_nothing")
def test_timeout_is_124(start: Start, shell_image: str) -> None:
    code, _, err = ended(start("exec", shell_image, "--timeout", "0.2", "--", "sleep", "60"))
    assert (code, "timed_out" in err) == (124, True)


@pytest.mark.usefixtures("leaves_nothing")
def test_a_reader_that_goes_away_does_not_end_the_job(
    start: Start, shell_image: str, let_go: Callable[[str], None]
) -> None:
    process, job_id = held(start, shell_image)
    assert process.stdout is not None
    process.stdout.close()
    let_go(job_id)
    assert process.stderr is not None
    with process.stderr as lines:
        assert b"Traceback" not in lines.read()
    assert process.wait(30) == 7
    assert conclusion(start, job_id) == "failed"


def test_delete_and_cleanup_take_the_files_along(start: Start, shell_image: str, tmp_path: Path) -> None:
    jobs = tmp_path / "state" / "ci-server" / "ci_jobs.data" / "jobs"
    for _ in range(3):
        assert ended(start("exec", shell_image, "--", "echo", "x"))[0] == 0
    newest, *_, oldest = (job["job_id"] for job in json.loads(ended(start("list", "--json"))[1]))
    code, _, err = ended(start("delete", oldest))
    assert (code, "deleted 1 job" in err) == (0, True), err
    assert len(os.listdir(jobs)) == 2
    assert ended(start("cleanup", "--keep", "1"))[0] == 0
    assert os.listdir(jobs) == [newest]
    code, out, _ = ended(start("cleanup", "--older-than", "0", "--dry-run"))
    assert (code, out.decode().split()) == (0, [newest])


def test_retention_works_without_a_server(start: Start, shell_image: str, tmp_path: Path) -> None:
    jobs = tmp_path / "state" / "ci-server" / "ci_jobs.data" / "jobs"
    for _ in range(3):
        assert ended(start("exec", shell_image, "--", "sleep", "1", MAX_JOBS="1"))[0] == 0
    assert len(os.listdir(jobs)) <= 2, "the one before, and this one"


def test_what_nothing_recognises_is_refused(start: Start, tmp_path: Path) -> None:
    code, _, err = ended(start("run", tree(tmp_path / "project", {"notes.txt": "x"})))
    assert (code, "ci.yaml" in err) == (64, True)


@pytest.mark.parametrize(
    ("settings", "expected", "told"),
    [
        ({"CI_DB_PATH": "/proc/none/x.db"}, 70, "the data directory /proc/none/x.data cannot be made"),
        ({"CI_DB_PATH": "/etc/passwd"}, 70, "the database /etc/passwd cannot be used"),
        ({"CI_DB_PATH": "/proc"}, 70, "cannot be"),
        ({"XDG_STATE_HOME": "/proc/none"}, 70, "XDG_STATE_HOME"),
        ({"MAX_CONCURRENCY": "x"}, 64, "MAX_CONCURRENCY='x'"),
        ({"DOCKER_HOST": "bogus"}, 64, "DOCKER_HOST='bogus'"),
        ({"CI_CA_BUNDLE": "/none"}, 64, "CI_CA_BUNDLE='/none'"),
    ],
)
def test_what_is_set_up_wrongly_is_told_in_one_line(
    start: Start, shell_image: str, settings: dict[str, str], expected: int, told: str
) -> None:
    code, out, err = ended(start("exec", shell_image, "--", "sleep", "60", **settings))
    assert (code, out) == (expected, b""), err
    assert told in err.splitlines()[-1]
    assert all(line.startswith("ci: ") for line in err.splitlines()), err
