"""`ci open`: the URL of a job, and the browser that is started with it."""

import json
import os
from pathlib import Path

import pytest

from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer
from tests.helpers.service import ci
from tests.helpers.terminals import on_terminal

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file to which the program that opens URLs writes what it is given."""
    opener, given = tmp_path / "bin" / "xdg-open", tmp_path / "given"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$@" > {given}\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{opener.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":9")
    return given


def test_a_terminal_with_a_display_gets_a_browser(server: ScriptedServer, opened: Path) -> None:
    job = server.add(ScriptedJob(b""))
    url = f"{server.url}/jobs/{job.job_id}"
    assert on_terminal(server, "open", job.job_id[:13]).decode() == f"{url}\n"
    assert opened.read_text() == f"{url}\n"


@pytest.mark.parametrize("options", [["--print"], ["--json"]])
def test_nothing_is_opened_if_only_the_url_is_wanted(server: ScriptedServer, opened: Path, options: list[str]) -> None:
    job = server.add(ScriptedJob(b""))
    shown = on_terminal(server, "open", *options, job.job_id).decode()
    url = f"{server.url}/jobs/{job.job_id}"
    assert (json.loads(shown)["url"] if options == ["--json"] else shown.strip()) == url
    assert not opened.exists()


def test_nothing_is_opened_without_a_display(
    server: ScriptedServer, opened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    job = server.add(ScriptedJob(b""))
    assert job.job_id.encode() in on_terminal(server, "open", job.job_id)
    assert not opened.exists()


def test_nothing_is_opened_for_a_pipe(server: ScriptedServer, opened: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = server.add(ScriptedJob(b""))
    assert ci(server, "open", job.job_id) == 0
    assert capsys.readouterr().out == f"{server.url}/jobs/{job.job_id}\n"
    assert not opened.exists()
    assert ci(server, "open", "01234567") == 64
