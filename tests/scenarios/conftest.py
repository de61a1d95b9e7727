"""Fixtures of the scenarios: an installation per runtime, and a story per runtime."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Starter, environment, port, runtime, shell_image, start
from tests.helpers.installation import Installation, installation_of
from tests.scenarios.stories import Story

__all__ = ["environment", "port", "runtime", "shell_image", "start"]


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    """An installation whose jobs run in the runtime that the test is run for."""
    runtime = request.param
    image = request.getfixturevalue("busybox_image") if runtime == "docker" else "none"
    return installation_of(tmp_path, runtime, image)


@pytest.fixture
async def story(start: Starter, environment: dict[str, str], port: str, shell_image: str) -> AsyncIterator[Story]:
    """An installation whose server can be killed and started again on the same address."""
    story = Story(start, environment | {"PORT": port}, shell_image)
    yield story
    await story.end()
