"""`ci serve` in one terminal, `ci` in others."""

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.scripted_server import wait_until
from tests.helpers.service import Service, Start, Terminal, ended, next_line, said, terminals, tree

NOISY = r"printf 'caf\351 \377\000\n'; i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo line $i; sleep 0.2; done; exit 3"


@pytest.fixture
def ci(environment: dict[str, str]) -> Iterator[Start]:
    """`ci` of the user who runs the service; it is not told where that is."""
    with terminals(environment) as start:
        yield start


def serving(ci: Start, **settings: str) -> Terminal:
    process = ci("serve", **settings)
    said(process, "ci: serving at ")
    return process


def test_waits_before_during_and_after_see_the_same(
    start, ci: Start, service: Service, shell_image: str, tmp_path: Path
) -> None:
    project = tree(tmp_path / "project", {"ci.yaml": json.dumps({"image": shell_image, "command": NOISY})})
    code, out, err = ended(ci("submit", project, "--detach"))
    assert (code, service.url in err) == (0, True), err
    job_id = out.decode().strip()
    assert f"follow it with: ci wait {job_id} --all" in err
    first = ci("wait", job_id, "--all")
    begun = next_line(first)
    second = ci("wait", job_id, "--all")
    code, rest, err = ended(first)
    assert code == 3, err
    readers = [(code, begun + rest), ended(second)[:2], ended(ci("wait", job_id, "--all"))[:2]]
    job = json.loads(ended(ci("status", "--json", job_id))[1])
    assert [(code, hashlib.sha256(log).hexdigest()) for code, log in readers] == [(3, job["log_sha256"])] * 3


def test_wait_follows_across_the_death_of_the_server(ci: Start, shell_image: str, port: str) -> None:
    server = serving(ci, PORT=port)
    submitted = ci("exec", shell_image, "--", "sh", "-c", NOISY)
    job_id = said(submitted, "ci: job ").split()[-1]
    begun = next_line(submitted)
    server.send_signal(signal.SIGKILL)
    server.communicate()
    serving(ci, PORT=port)
    code, rest, err = ended(submitted)
    assert code == 3, err
    job = json.loads(ended(ci("status", "--json", job_id))[1])
    assert hashlib.sha256(begun + rest).hexdigest() == job["log_sha256"]
    assert (job["log_bytes"], job["conclusion"]) == (len(begun + rest), "failed")


@pytest.mark.usefixtures("service")
def test_exec_passes_arguments_and_exit_codes_as_they_are(ci: Start, shell_image: str) -> None:
    odd = ["a b", "it's", '"q"', "$HOME", "", "*", "--", "-x", "a\nb", "é☃"]
    code, out, err = ended(ci("exec", shell_image, "--", "sh", "-c", r'printf "<%s>" "$@"', "sh", *odd))
    assert (code, out.decode()) == (0, "".join(f"<{text}>" for text in odd)), err
    for status in (1, 137, 255):
        assert ended(ci("exec", shell_image, "--", "sh", "-c", f"exit {status}"))[0] == status


@pytest.mark.docker
@pytest.mark.parametrize("runtime", ["docker"], indirect=True)
@pytest.mark.usefixtures("service")
def test_a_job_that_errored_is_75_and_says_why(ci: Start, no_shell_image: str) -> None:
    code, out, err = ended(ci("exec", no_shell_image, "--", "true"))
    assert (code, out) == (75, b"")
    assert "errored: " in err
    assert "/bin/sh" in err
    assert "its log again" not in err, "there is none"


@pytest.mark.usefixtures("service")
def test_everything_as_json(ci: Start, shell_image: str) -> None:
    code, out, _ = ended(ci("exec", shell_image, "--json", "--", "echo", "hello"))
    events = [json.loads(line) for line in out.splitlines()]
    assert (code, events[-1]["type"]) == (0, "complete")
    job_id = events[0]["job_id"]
    retried = json.loads(ended(ci("retry", job_id, "--detach", "--json"))[1])["job_id"]
    assert ended(ci("wait", retried))[0] == 0
    listed = json.loads(ended(ci("list", "--json"))[1])
    assert [job["job_id"] for job in listed] == [retried, job_id]
    assert json.loads(ended(ci("status", "--json", retried))[1])["retry_of"] == job_id
    for command in ("settings", "doctor"):
        assert json.loads(ended(ci(command, "--json"))[1])
    for options in ([], ["-f"]):
        lines = ended(ci("logs", "--json", *options, job_id))[1].splitlines()
        assert "".join(e["data"] for e in map(json.loads, lines) if e["type"] == "log") == "hello\n"


@pytest.mark.parametrize("runtime", ["process"], indirect=True)
def test_a_second_server_on_the_port_is_told_so(ci: Start, service: Service) -> None:
    port = service.url.rpartition(":")[2]
    code, _, err = ended(ci("serve", "--port", port))
    assert code == 70
    assert f"ci: cannot listen at 127.0.0.1:{port}: Address already in use" in err
    assert ended(ci("list"))[0] == 0, "the first one is still found"


@pytest.mark.parametrize("runtime", ["process"], indirect=True)
def test_a_server_that_has_gone_is_told_at_once(ci: Start, service: Service) -> None:
    assert service.stop() == 0
    for command in (["list"], ["wait", "0" * 8], ["exec", "any", "--", "true"]):
        code, out, err = ended(
            ci(*command, "--server", service.url)
            if command[-1] != "true"
            else ci("exec", "--server", service.url, "any", "--", "true")
        )
        assert (code, out) == (69, b"")
        assert f"no server answers at {service.url}" in err


@pytest.mark.parametrize("runtime", ["process"], indirect=True)
def test_output_that_cannot_be_written(environment: dict[str, str], ci: Start, service: Service) -> None:
    job_id = ended(ci("exec", "any", "--detach", "--", "echo", "hello"))[1].decode().strip()
    assert ended(ci("wait", job_id))[0] == 0

    def shell(line: str) -> "subprocess.CompletedProcess[str]":
        terminal = ci("--help")
        assert ended(terminal)[0] == 0
        line = line.format(ci=" ".join(map(str, terminal.args)).removesuffix(" --help"), job=job_id)
        settings = {**os.environ, **environment, "PYTHONPATH": os.getcwd()}
        return subprocess.run(["sh", "-c", line], env=settings, capture_output=True, text=True, check=False)

    for line, status in (
        ("{ci} wait {job} --all >/dev/full", 70),
        ("{ci} list >/dev/full", 70),
        ("{ci} wait {job} --all >&-", 0),
        ("{ci} wait {job} --all >&- 2>&-", 0),
    ):
        done = shell(line)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False), (line, done.stderr)


@pytest.mark.parametrize("runtime", ["process"], indirect=True)
@pytest.mark.parametrize("args", [["frob"], ["run", "--nope"], ["wait"], ["exec", "any"], ["list", "--status", "x"]])
def test_misuse_is_told_in_one_line(ci: Start, args: list[str]) -> None:
    code, out, err = ended(ci(*args))
    assert (code, out) == (64, b"")
    (line,) = err.splitlines()
    assert line.startswith("ci: ")
    assert "--help" in line


@pytest.mark.usefixtures("service")
def test_delete_and_cleanup(ci: Start, shell_image: str, tmp_path: Path) -> None:
    jobs = [
        ended(ci("exec", shell_image, "--project", name, "--json", "--", "echo", "x"))[1].splitlines()[0]
        for name in ("alpha", "beta", "beta")
    ]
    first, second, third = (json.loads(line)["job_id"] for line in jobs)
    code, out, err = ended(ci("delete", first))
    assert (code, out, "deleted 1 job" in err) == (0, b"", True), err
    code, _, err = ended(ci("delete", first))
    assert (code, "there is no job" in err) == (64, True)
    code, out, err = ended(ci("cleanup", "--keep", "1", "--project", "beta", "--dry-run"))
    assert (code, out.decode().split(), "1 job would be deleted" in err) == (0, [second], True)
    assert ended(ci("cleanup", "--older-than", "7d"))[0] == 0
    assert json.loads(ended(ci("cleanup", "--keep", "1", "--json"))[1]) == {"deleted": 1, "job_ids": [second]}
    assert [job["job_id"] for job in json.loads(ended(ci("list", "--json"))[1])] == [third]
    job_id = ended(ci("exec", shell_image, "--detach", "--", "sleep", "600"))[1].decode().strip()
    code, _, err = ended(ci("delete", job_id, third))
    assert (code, f"cancelling job {job_id}" in err, "deleted 2 jobs" in err) == (0, True, True), err
    assert json.loads(ended(ci("list", "--json"))[1]) == []
    wait_until(lambda: os.listdir(tmp_path / "ci_jobs.data" / "jobs") == [])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--older-than"),
        (["--project", "x"], "--older-than"),
        (["--older-than", "soon"], "'soon' is not a duration"),
    ],
)
@pytest.mark.usefixtures("service")
def test_cleanup_that_says_too_little_is_refused(ci: Start, options: list[str], told: str) -> None:
    code, _, err = ended(ci("cleanup", *options))
    assert (code, told in err) == (64, True), err


def test_a_strangers_project(ci: Start, service: Service, shell_image: str, runtime: str, tmp_path: Path) -> None:
    """Links in circles and odd ignore rules go through; logs are exact, and what is said is so for its runtime."""
    log = b"\x1b[31mred\x1b]52;c;aGk=\x07\n"
    command = r"printf '\033[31mred\033]52;c;aGk=\007\n'; readlink circle; ls"
    files = {"ci.yaml": json.dumps({"image": shell_image, "command": command}), ".gitignore": "core.[[:digit:]]*\n"}
    project = tree(tmp_path / "project", {**files, "core.1": "", "core.c": "", "sub/C:/f": ""})
    (project / "circle").symlink_to("circle")
    code, out, err = ended(ci("run", project))
    assert (code, out) == (0, log + b"circle\nci.yaml\ncircle\ncore.c\nsub\n"), err
    job_id = next(line.split()[-1] for line in err.splitlines() if line.startswith("ci: job "))
    shown = ended(ci("status", job_id))[1].decode()
    assert ("as a process, without a container" in shown) is (runtime == "process")
    assert ("in a container made for it" in shown) is (runtime == "docker")
    assert ("\nimage:" in shown) is (runtime == "docker")
    (project / "C:").mkdir()
    (project / "C:" / "f").touch()
    code, _, err = ended(ci("run", project))
    assert (code, "C:/" in err) == (64, True)
