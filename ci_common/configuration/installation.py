"""The settings that describe an installation: its database, its data directory, and what runs on this host."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import PlainValidator, model_validator

from ci_common.configuration.database_address import DatabaseAddress, OptionalUrl
from ci_common.configuration.declaration import DeclaredSettings, setting


def _files(value: object) -> str:
    """Read the setting `files`."""
    text = str(value).rstrip("/")
    if text in ("here", "elsewhere"):
        return text
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("it is one of here, elsewhere, or the URL of a server, such as http://ci.example.org:8000")
    return text


Files = Annotated[str, PlainValidator(_files)]


class InstallationSettings(DeclaredSettings):
    """The installation, as this host sees it."""

    secret: ClassVar[frozenset[str]] = frozenset({"database_url", "database_listen_url"})

    db_path: Path = setting("CI_DB_PATH", Path("ci_jobs.db"), "the SQLite database; not beside CI_DATABASE_URL", "path")
    database_url: OptionalUrl = setting(
        "CI_DATABASE_URL",
        None,
        "a PostgreSQL database instead, as postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        "URL",
    )
    database_listen_url: OptionalUrl = setting(
        "CI_DATABASE_LISTEN_URL",
        None,
        "the same database without a pooler, for notifications; by default CI_DATABASE_URL",
        "URL",
    )
    data_dir: Path | None = setting(
        "CI_DATA_DIR",
        None,
        "uploads, run directories and logs; by default beside the SQLite database, as NAME.data, or ci_jobs.data",
        "path",
    )
    files: Files = setting(
        "CI_FILES",
        "here",
        "where the data directory is; elsewhere: requests that need it are refused; a URL: they are redirected to the "
        "server there, which has it",
    )
    controller: Literal["auto", "off"] = setting(
        "CI_CONTROLLER", "auto", "auto: the server runs a controller, too; off: `ci controller` runs separately"
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "CI_LOG_LEVEL", "info", "the least severe messages that server and controller write to standard error"
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.database_url is not None and "db_path" in self.model_fields_set:
            raise ValueError("CI_DB_PATH and CI_DATABASE_URL both name a database: unset one of them")
        if self.database_listen_url is not None and self.database_url is None:
            raise ValueError("CI_DATABASE_LISTEN_URL is set without CI_DATABASE_URL: set that too, or unset it")
        if self.files != "here" and self.controller != "off":
            raise ValueError(
                "CI_FILES says that the data directory is on another host, and a controller needs it: "
                "set CI_CONTROLLER=off here, and run the controller there"
            )
        return self

    @property
    def database(self) -> DatabaseAddress:
        """Where the database is."""
        if self.database_url is None:
            return DatabaseAddress(path=self.db_path)
        return DatabaseAddress(url=self.database_url, listen_url=self.database_listen_url)

    @property
    def has_files(self) -> bool:
        """Whether this host has the data directory."""
        return self.files == "here"

    @property
    def data_path(self) -> Path:
        """The data directory, absolute."""
        beside = self.db_path.with_name(self.db_path.stem + ".data")
        return (self.data_dir or beside).absolute()
