"""`ci logs` with certain lines, `ci wait` for several jobs, `ci open`, and servers by name."""

import json
from pathlib import Path

import pytest

from ci_cli.configuration import config_path, default_server
from ci_cli.main import run_cli
from ci_common.errors import SettingsError
from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer
from tests.helpers.service import ci

Capture = pytest.CaptureFixture[bytes]
LOG = b"one\ntwo error\nthree\nfour error\nfive"
STEPS = [
    (
        0,
        {"type": "step", "name": "install", "status": "succeeded", "exit_code": 0, "log_offset": 0, "start_time": None},
    ),
    (14, {"type": "step", "name": "step 2", "status": "failed", "exit_code": 1, "log_offset": 14, "start_time": None}),
]


@pytest.fixture
def job(server: ScriptedServer) -> ScriptedJob:
    return server.add(ScriptedJob(LOG, steps=STEPS, chunk=7))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--tail", "2"], b"four error\nfive\n"),
        (["--tail", "0"], b""),
        (["--tail", "9"], LOG + b"\n"),
        (["--grep", "err"], b"two error\nfour error\n"),
        (["--grep", "err", "--tail", "1"], b"four error\n"),
        (["--grep", "^f"], b"four error\nfive\n"),
        (["--step", "install"], b"one\ntwo error\n"),
        (["--step", "2"], b"three\nfour error\nfive\n"),
        (["--step", "2", "--grep", "error"], b"four error\n"),
        (["--follow", "--tail", "1"], b"five\n"),
        (["--since", "2020-01-01"], LOG + b"\n"),
        (["--since", "0"], b""),
    ],
    ids=str,
)
def test_certain_lines(
    server: ScriptedServer, job: ScriptedJob, capfdbinary: Capture, options: list[str], expected: bytes
) -> None:
    assert ci(server, "logs", job.job_id, *options) == 0
    assert capfdbinary.readouterr().out == expected


def test_lines_may_begin_with_their_time(server: ScriptedServer, job: ScriptedJob, capfdbinary: Capture) -> None:
    assert ci(server, "logs", job.job_id, "--timestamps") == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert [line.split(b" ", 1)[1] for line in lines] == LOG.splitlines()
    assert all(line.startswith(b"20") and line.split(b" ")[0].endswith(b"Z") for line in lines)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--grep", "("], "not a regular expression"),
        (["--since", "soon"], "neither how long ago (10m, 2h) nor a time"),
        (["--step", "x"], "the job has no step 'x'; it has install, step 2"),
        (["--step", "2", "--follow"], "leave out --follow"),
        (["--tail", "1", "--json"], "leave out --tail"),
    ],
)
def test_what_is_asked_wrongly(
    server: ScriptedServer, job: ScriptedJob, capfdbinary: Capture, options: list[str], told: str
) -> None:
    assert ci(server, "logs", job.job_id, *options) == 64
    assert told in capfdbinary.readouterr().err.decode()


def test_the_end_of_several_jobs(server: ScriptedServer, capfdbinary: Capture) -> None:
    good, bad, late = (server.add(ScriptedJob(b"x", conclusion=c, exit_code=e))
                       for c, e in (("succeeded", 0), ("failed", 5), ("timed_out", None)))  # fmt: skip
    assert ci(server, "wait", good.job_id, late.job_id, bad.job_id) == 124
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert f"job {bad.job_id} failed: exit code 5".encode() in err
    assert b"2 jobs of 3 did not succeed" in err
    assert ci(server, "wait", "--json", good.job_id, bad.job_id) == 5
    ended = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert {event["job_id"]: event["conclusion"] for event in ended} == {good.job_id: "succeeded", bad.job_id: "failed"}


def test_the_url_of_a_job(server: ScriptedServer, job: ScriptedJob, capfdbinary: Capture) -> None:
    assert ci(server, "open", job.job_id) == 0
    assert capfdbinary.readouterr().out.decode() == f"{server.url}/jobs/{job.job_id}\n"


@pytest.fixture
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CI_SERVER_URL", raising=False)
    (tmp_path / "project" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "inner")


@pytest.mark.usefixtures("_own_configuration")
def test_a_server_has_a_name(server: ScriptedServer, job: ScriptedJob, capfdbinary: Capture) -> None:
    assert run_cli(["config", "add", "team", server.url]) == 0
    assert run_cli(["logs", "--server", "team", job.job_id]) == 0
    assert capfdbinary.readouterr().out == LOG
    assert run_cli(["logs", "--server", "tam", job.job_id]) == 64
    assert "did you mean team?" in capfdbinary.readouterr().err.decode()
    assert default_server() is None
    assert run_cli(["config", "default", "team"]) == 0
    assert default_server() == server.url
    assert run_cli(["config", "remove", "team"]) == 0
    assert default_server() is None


@pytest.mark.usefixtures("_own_configuration")
def test_a_project_names_a_server_but_no_url(tmp_path: Path) -> None:
    run_cli(["config", "add", "one", "http://one"])
    run_cli(["config", "add", "two", "http://two", "--default"])
    file = tmp_path / "project" / ".ci" / "config.toml"
    file.parent.mkdir()
    file.write_text('server = "one"\n')
    assert default_server() == "http://one"
    file.write_text('server = "http://evil"\n')
    with pytest.raises(SettingsError, match="not a URL"):
        default_server()
    file.write_text('server = "three"\n')
    with pytest.raises(SettingsError, match="ci config add three URL"):
        default_server()


@pytest.mark.usefixtures("_own_configuration")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server = ", "cannot be read"),
        ("servr = 'x'", "servr is unknown; did you mean server\\?"),
        ("[servers.x]\nurl = 'ftp://x'", "servers.x.url is not the URL of a server"),
        ("[servers.x]\nadress = 'http://x'", "servers.x.adress is unknown"),
        ("server = 'x'", r"there is no \[servers.x\]"),
    ],
)
def test_a_wrong_configuration_is_explained(text: str, told: str) -> None:
    config_path().parent.mkdir(parents=True)
    config_path().write_text(text)
    with pytest.raises(SettingsError, match=told):
        default_server()
