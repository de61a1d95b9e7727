"""Fixtures of the scenarios: an installation per runtime and database, and a story for each of these."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Starter, port, shell_image, start
from tests.e2e.conftest import environment as environment_on_files
from tests.helpers.databases import Databases, Files, OnServer, Place
from tests.helpers.installation import Installation, installation_of
from tests.scenarios.stories import Story

__all__ = ["environment_on_files", "port", "shell_image", "start"]


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def place(request: pytest.FixtureRequest) -> Place:
    """Where the test runs. Tests that the database matters to name other places, by `ON_BOTH`."""
    return Place(request.param)


@pytest.fixture
def runtime(place: Place) -> str:
    return place.runtime


@pytest.fixture
def databases(request: pytest.FixtureRequest, place: Place) -> Iterator[Databases]:
    """Databases of the kind that the test is run for."""
    if place.database == "sqlite":
        yield Files()
        return
    databases = OnServer(request.getfixturevalue("postgresql_server"), request.getfixturevalue("postgresql_template"))
    yield databases
    databases.drop()


@pytest.fixture
def installation(request: pytest.FixtureRequest, tmp_path: Path, place: Place, databases: Databases) -> Installation:
    """An installation whose jobs run in the runtime that the test is run for."""
    image = request.getfixturevalue("busybox_image") if place.runtime == "docker" else "none"
    return installation_of(tmp_path, place.runtime, image, databases)


@pytest.fixture
def environment(environment_on_files: dict[str, str], tmp_path: Path, databases: Databases) -> dict[str, str]:
    """The settings of an installation for `start`."""
    rest = {name: value for name, value in environment_on_files.items() if name != "CI_DB_PATH"}
    return rest | databases.settings(tmp_path)


@pytest.fixture
async def story(start: Starter, environment: dict[str, str], port: str, shell_image: str) -> AsyncIterator[Story]:
    """An installation whose server can be killed and started again on the same address."""
    story = Story(start, environment | {"PORT": port}, shell_image)
    yield story
    await story.end()
