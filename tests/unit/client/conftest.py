from collections.abc import Iterator

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
    _one_server.refusal = None
    _one_server.break_submissions = False
    return _one_server
