"""The user's configuration: servers by name, and which of them is used by default.

    # ~/.config/ci/config.toml
    server = "team"

    [servers.team]
    url = "https://ci.example.org"

A project may name one of these servers in `.ci/config.toml`. It cannot name a URL: what a project says must not decide
where the user's files are sent.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ci_client.access.credentials import config_directory
from ci_client.errors import NotWritten
from ci_client.escapes import visible
from ci_common.errors import SettingsError

PROJECT_FILE = ".ci/config.toml"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_URL = re.compile(r"(?:https?://\S+|unix:///\S+)")
_MOST_BYTES = 1024 * 1024


@dataclass(slots=True)
class Configuration:
    """What the file says. `save` writes it back."""

    path: Path
    servers: dict[str, str] = field(default_factory=dict)
    """URLs by name."""
    server: str | None = None
    """The name of the server that is used by default."""

    def url_of(self, name: str) -> str:
        """Return the URL of a server. Raises SettingsError, which says which servers there are."""
        if name in self.servers:
            return self.servers[name]
        meant = get_close_matches(name, self.servers, n=1)
        hint = f"did you mean {meant[0]}?" if meant else f"add it with: ci config add {visible(name)} URL"
        known = f"; {self.path} has {', '.join(self.servers)}" if self.servers else ""
        raise SettingsError(f"no server is named {visible(repr(name))}{known}; {hint}")

    def save(self) -> None:
        """Write the file. Raises NotWritten."""
        text = f"server = {json.dumps(self.server)}\n" if self.server else ""
        text += "".join(f"\n[servers.{name}]\nurl = {json.dumps(url)}\n" for name, url in sorted(self.servers.items()))
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self.path.with_name(f"{self.path.name}.new")
            draft.write_text(text.lstrip("\n"), "utf-8")
            os.replace(draft, self.path)
        except OSError as exc:
            raise NotWritten(f"{self.path} cannot be written: {exc.strerror}") from exc


def config_path() -> Path:
    """Return `$XDG_CONFIG_HOME/ci/config.toml`, by default `~/.config/ci/config.toml`."""
    return config_directory() / "config.toml"


def read_configuration() -> Configuration:
    """Return the user's configuration. Raises SettingsError, which names the file and what is wrong in it."""
    path = config_path()
    read = _read(path)
    _refuse_unknown(path, read, ("server", "servers"))
    servers = read.get("servers", {})
    if not isinstance(servers, dict) or not all(isinstance(server, dict) for server in servers.values()):
        raise SettingsError(f'{path}: servers are tables, as in [servers.team] with url = "https://…"')
    urls = {}
    for name, server in servers.items():
        _refuse_unknown(path, server, ("url",), f"servers.{name}.")
        urls[name] = check_url(server.get("url"), f"{path}: servers.{name}.url")
    server = read.get("server")
    if server is not None and server not in urls:
        raise SettingsError(f"{path}: server is {server!r}, and there is no [servers.{server}]")
    return Configuration(path, urls, server)


def check_url(url: object, what: str) -> str:
    """Return the URL of a server. Raises SettingsError."""
    if not isinstance(url, str) or not _URL.fullmatch(url):
        raise SettingsError(f"{what} is not the URL of a server: write http(s)://HOST:PORT or unix:///PATH")
    return url


def named_server(text: str) -> str:
    """Return the URL that an option means: itself, or that of the server with this name. Raises SettingsError."""
    return read_configuration().url_of(text) if NAME.fullmatch(text) else text


def default_server() -> str | None:
    """Return the URL of the server that the project names, else of the user's default. Raises SettingsError."""
    project = next((path for path in _project_files(Path.cwd()) if path.is_file()), None)
    if project is None and not config_path().is_file():
        return None
    configuration = read_configuration()
    name = configuration.server
    if project is not None:
        read = _read(project)
        _refuse_unknown(project, read, ("server",))
        name = read.get("server", name)
        if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
            raise SettingsError(f"{project}: server is a name from {configuration.path}, not a URL")
    return None if name is None else configuration.url_of(name)


def _project_files(directory: Path) -> Iterator[Path]:
    for folder in (directory, *directory.parents):
        yield folder / PROJECT_FILE


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.loads(file.read(_MOST_BYTES).decode("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise SettingsError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc


def _refuse_unknown(path: Path, table: dict[str, Any], known: tuple[str, ...], begin: str = "") -> None:
    for name in table:
        if name not in known:
            meant = get_close_matches(name, known, n=1)
            hint = f"did you mean {meant[0]}?" if meant else f"known are {', '.join(known)}"
            raise SettingsError(f"{path}: {visible(begin + name)} is unknown; {hint}")
