"""Where a database is: a file of SQLite, or a database of a PostgreSQL server. What is shown of it has no password."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import parse_qsl, unquote

from pydantic import PlainValidator

URL_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_SCHEMES = ("postgresql://", "postgres://")
_DEFAULT_PORT = "5432"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::([0-9]*))?")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The URL of a PostgreSQL database, as libpq reads it. `str()` is `name`."""

    text: str = field(repr=False)
    """The URL with its password: neither for messages nor for the arguments of a process."""
    name: str
    """Hosts, ports and database, as `postgresql://HOST:PORT/DATABASE`. An empty host is the local socket."""
    has_password: bool = field(default=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL. Raises ValueError, with nothing of the URL in its message."""
        scheme = next((scheme for scheme in _SCHEMES if text.startswith(scheme)), None)
        if scheme is None:
            raise ValueError(f"the address of a PostgreSQL database is written as {URL_FORM}")
        rest, _, query = text.removeprefix(scheme).partition("?")
        given = dict(parse_qsl(query))
        authority, _, path = rest.partition("/")
        login, _, places = authority.rpartition("@")
        if "@" in path or (hosts := _hosts(places, given)) is None:
            raise ValueError(f"it cannot be read; it is written as {URL_FORM}, with special characters percent-encoded")
        user = unquote(login.partition(":")[0]) or given.get("user", "")
        database = given.get("dbname") or unquote(path) or user
        has_password = bool(login.partition(":")[2]) or "password" in given
        return cls(text, f"postgresql://{hosts}/{database}", has_password)

    def __str__(self) -> str:
        return self.name


def _hosts(places: str, given: Mapping[str, str]) -> str | None:
    """Return all hosts with their ports, None where they cannot be read."""
    names, ports = [], []
    for place in places.split(","):
        match = _HOST.fullmatch(place)
        if match is None:
            return None
        names.append(unquote(match[1]))
        ports.append(match[2] or _DEFAULT_PORT)
    names = given["host"].split(",") if given.get("host") else names
    if given.get("port"):
        ports = given["port"].split(",")
    ports = ports * len(names) if len(ports) == 1 else ports
    return ",".join(f"{name}:{port}" for name, port in zip(names, ports, strict=False))


def _url(value: object) -> DatabaseUrl | None:
    if value is None or isinstance(value, DatabaseUrl):
        return value
    return DatabaseUrl.parse(str(value))


OptionalUrl = Annotated[DatabaseUrl | None, PlainValidator(_url)]
"""The type of a setting that is a URL, or None."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where one installation's database is."""

    path: Path | None = None
    """The file; None for a server's database."""
    url: DatabaseUrl | None = None
    listen_url: DatabaseUrl | None = None
    """Where notifications are received, if it is not `url`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a path or a URL. Raises ValueError."""
        return cls(url=DatabaseUrl.parse(text)) if "://" in text else cls(path=Path(text))

    @property
    def name(self) -> str:
        """The file, absolute and without symbolic links, or the name of the URL."""
        return str(self.path.resolve()) if self.path is not None else str(self.url)

    @property
    def variable(self) -> str:
        """The setting that names it."""
        return "CI_DB_PATH" if self.path is not None else "CI_DATABASE_URL"

    @property
    def assignment(self) -> str:
        """What to put before a command so that it uses this database; empty for a URL, which may have a password."""
        return f"CI_DB_PATH={self.path.absolute()} " if self.path is not None else ""

    def __str__(self) -> str:
        return str(self.path.absolute()) if self.path is not None else str(self.url)
