"""Where the installations of tests keep their jobs: in a file of SQLite, or on a real PostgreSQL server."""

from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from tests.helpers.postgresql.server import PostgreSQLServer


class Place(NamedTuple):
    """Where the jobs of a test run, and where they are kept."""

    runtime: str
    """`process` or `docker`."""
    database: str = "sqlite"
    """`sqlite` or `postgresql`."""


def _places(*places: Place) -> pytest.MarkDecorator:
    marks = {"docker": [pytest.mark.docker]}
    return pytest.mark.parametrize(
        "place", [pytest.param(place, id="-".join(place), marks=marks.get(place.runtime, [])) for place in places]
    )


ON_BOTH = _places(Place("process", "postgresql"), Place("docker"))
"""For tests that are to hold on each runtime and on each database. The other two pairs would prove the same again."""
IN_CONTAINERS = _places(Place("docker"), Place("docker", "postgresql"))


class Databases(Protocol):
    """Gives each installation a database of its own."""

    def settings(self, directory: Path) -> dict[str, str]:
        """Return the settings that name a new database, and the data directory, of an installation in `directory`."""


class Files:
    """A file for each. It is made when it is first used."""

    def settings(self, directory: Path) -> dict[str, str]:
        return {"CI_DB_PATH": str(directory / "ci_jobs.db")}


class OnServer:
    """Databases of a server that have the present schema. They are gone after `drop`."""

    def __init__(self, server: PostgreSQLServer, template: str) -> None:
        self._server = server
        self._template = template
        self._made: list[str] = []

    def settings(self, directory: Path) -> dict[str, str]:
        self._made.append(self._server.create_database(self._template))
        return {
            "CI_DATABASE_URL": self._server.url(self._made[-1]),
            "CI_DATA_DIR": str(directory / "ci_jobs.data"),
        }

    def drop(self) -> None:
        for name in self._made:
            self._server.drop_database(name)
