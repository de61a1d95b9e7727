"""Fixtures of the scenarios: an installation per runtime."""

import os
from pathlib import Path

import pytest

from tests.helpers.installation import Installation


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    """An installation whose jobs run in the runtime that the test is run for."""
    runtime = request.param
    image = request.getfixturevalue("busybox_image") if runtime == "docker" else "none"
    environment = {
        "CI_DB_PATH": str(tmp_path / "ci_jobs.db"),
        "CI_RUNTIME": runtime,
        "CI_RECONCILE_INTERVAL": "0.5",
        "CI_STOP_GRACE": "5",
        "CI_CONTAINER_PREFIX": "scenario-",
        "DOCKER_HOST": os.environ.get("DOCKER_HOST", ""),
    }
    return Installation(tmp_path, runtime, image, environment)
