"""Fixtures of the scenarios: an installation per runtime."""

from pathlib import Path

import pytest

from tests.helpers.installation import Installation, installation_of


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    """An installation whose jobs run in the runtime that the test is run for."""
    runtime = request.param
    image = request.getfixturevalue("busybox_image") if runtime == "docker" else "none"
    return installation_of(tmp_path, runtime, image)
