"""What the command line loads, how it finds a server, and how it shows settings."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ci_cli.announcement import announced, find_announced, state_directory
from ci_cli.interrupts import deferred_interrupt
from ci_cli.main import cli, run_cli
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer

ROOT = Path(__file__).parents[3]
SERVER_LIBRARIES = (
    *("mcp", "mcp_types", "aiodocker", "aiohttp", "aiosqlite", "httptools", "python_multipart"),
    *("sse_starlette", "starlette", "uvicorn", "uvloop", "yaml"),
)


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("CI_SERVER_URL", raising=False)


def loaded_by(code: str) -> set[str]:
    """Return the modules that a Python has loaded after `code`, which may print."""
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint()\nprint(*sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(shown.splitlines()[-1].split())


def test_help_loads_nothing_but_click() -> None:
    loaded = loaded_by("from ci_cli.main import run_cli; run_cli(['--help'])")
    assert not loaded & {"httpx", "pydantic", "anyio", "asyncio", "zipfile", *SERVER_LIBRARIES}


def test_the_client_library_loads_no_server() -> None:
    loaded = loaded_by("import ci_client.client")
    assert not loaded & {"pydantic", "ci_server", "ci_controller", "ci_persistence", "ci_selftest", *SERVER_LIBRARIES}


def test_a_command_to_a_server_loads_no_server(server: ScriptedServer) -> None:
    server.add(ScriptedJob(b"x"))
    loaded = loaded_by(f"from ci_cli.main import run_cli; assert run_cli(['list', '--server', {server.url!r}]) == 0")
    assert not loaded & {"ci_server", "ci_controller", "ci_persistence", "ci_selftest", *SERVER_LIBRARIES}


def test_a_run_starts_with_few_modules(server: ScriptedServer, tmp_path: Path) -> None:
    server.add(ScriptedJob(b"x"))
    (tmp_path / "f").touch()
    run = f"['run', {str(tmp_path)!r}, '--server', {server.url!r}]"
    loaded = loaded_by(f"from ci_cli.main import run_cli; assert run_cli({run}) == 0")
    # Each takes as long to import as a warm container to start.
    assert not loaded & {"pydantic", "ci_common.settings", "ci_common.spec", "multiprocessing", *SERVER_LIBRARIES}
    assert sum(name.startswith("ci_") for name in loaded) < 85


@pytest.mark.parametrize("command", cli.commands)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "..." not in cli.commands[command].get_short_help_str(60)
    assert all(option.help for option in cli.commands[command].params if isinstance(option, click.Option))
    assert shown.startswith("Usage: ci ")


def test_detached_work_needs_somebody_to_do_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f").touch()
    assert run_cli(["submit", "--detach", str(tmp_path)]) == 69
    told = capsys.readouterr().err
    assert "ci serve" in told
    assert "ci run" in told


def test_an_announced_server_is_found_while_it_lives(
    server: ScriptedServer, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    job = server.add(ScriptedJob(b"found"))
    assert find_announced() is None
    with announced(server.url):
        assert find_announced() == server.url
        assert state_directory().stat().st_mode & 0o077 == 0
        assert run_cli(["logs", job.job_id]) == 0
    assert capfdbinary.readouterr().out == b"found"
    assert find_announced() is None
    assert list(state_directory().iterdir()) == []


def test_the_last_to_announce_is_found_and_not_taken_away_by_others() -> None:
    with announced("http://one"):
        with announced("http://two"):
            pass
        with announced("http://three"):
            assert find_announced() == "http://three"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "http://x"}', '{"url": "http://x", "process": {"pid": 1}}'])
def test_a_broken_announcement_is_none(text: str) -> None:
    state_directory().mkdir(parents=True)
    (state_directory() / "server.json").write_text(text)
    assert find_announced() is None


def test_a_dead_process_announces_nothing() -> None:
    me = json.loads(this_process().to_json())
    state_directory().mkdir(parents=True)
    (state_directory() / "server.json").write_text(json.dumps({"url": "http://x", "process": me | {"start": "1"}}))
    assert find_announced() is None


def test_settings_shows_each_with_its_meaning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAX_CONCURRENCY", "7")
    assert run_cli(["settings", "--json"]) == 0
    rows = {row["setting"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(Settings.env_names().values())
    assert (rows["MAX_CONCURRENCY"]["value"], rows["MAX_CONCURRENCY"]["default"]) == (7, 4)
    assert all(row["meaning"] for row in rows.values())
    assert run_cli(["settings"]) == 0
    assert "CI_RECONCILE_INTERVAL" in capsys.readouterr().out


def test_settings_shows_no_path_of_a_database_that_is_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI_DATABASE_URL", "postgresql://ci:secret@db.example.org/ci")
    assert run_cli(["settings", "--json"]) == 0
    rows = {row["setting"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["CI_DB_PATH"]["value"], rows["CI_DB_PATH"]["default"]) == (None, "ci_jobs.db")
    assert rows["CI_DATABASE_URL"]["value"] == "postgresql://db.example.org:5432/ci"
    assert run_cli(["settings"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("CI_DB_PATH"))
    assert line.split()[:4] == ["CI_DB_PATH", "not", "used", "ci_jobs.db"]


def test_a_wrong_setting_is_wrong_use(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MAX_CONCURRENCY", "none")
    assert run_cli(["settings"]) == 64
    assert "MAX_CONCURRENCY" in capsys.readouterr().err


def test_a_deferred_ctrl_c_comes_where_it_can() -> None:
    passed = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as check:  # noqa: PT012  # where it leaves is the point
        check()
        signal.raise_signal(signal.SIGINT)
        passed.append("not at any point")
        check()
        passed.append("but here")
    assert passed == ["not at any point"]
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
