"""A short run of every kind with a fixed seed. `make fuzz` runs longer, with other seeds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.campaign import Campaign
from tests.fuzz.kinds import GENERATORS
from tests.fuzz.server import WatchedServer
from tests.helpers.installation import ROOT

SEED = 12
INPUTS = 120
"""Of each kind. Together they take about a minute."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedServer]:
    watched = WatchedServer(tmp_path_factory.mktemp("fuzz"))
    watched.start()
    yield watched
    watched.close()


@pytest.fixture
def failed() -> Path:
    """Where inputs that failed are kept, so that they can be sent again."""
    return ROOT / ".cache" / "fuzz"


@pytest.mark.parametrize("kind", GENERATORS)
def test_no_input_harms_the_service(server: WatchedServer, kind: str, failed: Path) -> None:
    """No 5xx, no hang, no growth, no blocked event loop; every job that is accepted completes."""
    failures = Campaign(server, kind, SEED, INPUTS, failed, shrink_seconds=5).run()
    assert not failures, "\n\n".join(["", *(failure.told() for failure in failures)])
