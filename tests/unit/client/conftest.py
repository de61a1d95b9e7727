from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.scripted_server import ScriptedServer, running_server


@pytest.fixture(scope="session")
def _one_server() -> Iterator[ScriptedServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def server(_one_server: ScriptedServer) -> ScriptedServer:
    """A scripted server without jobs."""
    _one_server.jobs.clear()
    _one_server.uploads.clear()
    _one_server.specs.clear()
    _one_server.keys.clear()
    _one_server.refusals.clear()
    _one_server.break_submissions = False
    return _one_server


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CI_SERVER_URL", raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "test_it.py").write_text("def test_it(): pass\n")
    return directory
