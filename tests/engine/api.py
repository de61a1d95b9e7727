"""The few requests of Docker's HTTP API that the tests' own set-up needs."""

import http.client
import json
import os
import socket
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

USUAL_SOCKET = "unix:///var/run/docker.sock"


class EngineError(Exception):
    """The engine refused a request, or cannot be reached."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class EngineAPI:
    """One engine, named as in DOCKER_HOST."""

    def __init__(self, url: str) -> None:
        self.url = url

    def request(
        self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None, *, timeout: float = 300.0
    ) -> bytes:
        """Return the whole answer. `body` is a file, bytes, or anything that becomes JSON. Raises EngineError."""
        kind = "application/x-tar"
        if body is not None and not isinstance(body, bytes) and not hasattr(body, "read"):
            body, kind = json.dumps(body).encode(), "application/json"
        target = f"{path}?{urlencode(query or {}, doseq=True)}"
        connection = self._connect(timeout)
        try:
            connection.request(method, target, body, {"Content-Type": kind}, encode_chunked=False)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            raise EngineError(f"no answer from the engine at {self.url}: {exc}") from exc
        finally:
            connection.close()
        if answer.status >= 400:
            raise EngineError(f"{method} {path}: {answer.status} {content.decode(errors='replace').strip()}")
        return content

    def answers(self) -> bool:
        """Tell whether an engine answers at this address."""
        try:
            self.request("GET", "/_ping", timeout=5.0)
        except EngineError:
            return False
        return True

    def has_image(self, name: str) -> bool:
        """Tell whether the engine has an image."""
        try:
            self.request("GET", f"/images/{quote(name, safe='/:@')}/json")
        except EngineError as exc:
            if " 404 " in str(exc):
                return False
            raise
        return True

    def import_image(self, name: str, layer: IO[bytes] | bytes, changes: list[str]) -> None:
        """Make an image of one layer, a tar archive; `changes` are Dockerfile instructions."""
        # Podman takes the tag only as a part of the name, and looks for names without a registry at Docker's.
        query = {"fromSrc": "-", "repo": f"docker.io/library/{name}", "changes": changes}
        self._check_stream(self.request("POST", "/images/create", query, layer))

    def tag_image(self, image: str, name: str) -> None:
        """Give an image another name."""
        repository, _, tag = name.rpartition(":")
        self.request("POST", f"/images/{image}/tag", {"repo": repository, "tag": tag})

    def pull_image(self, name: str) -> bool:
        """Pull an image. Returns False where it cannot be had."""
        repository, _, tag = name.rpartition(":")
        try:
            self._check_stream(self.request("POST", "/images/create", {"fromImage": repository, "tag": tag}))
        except EngineError:
            return False
        return True

    def _check_stream(self, content: bytes) -> None:
        for line in content.splitlines():
            if line.strip() and "error" in (event := json.loads(line)):
                raise EngineError(event["error"])

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return _UnixConnection(parts.path, timeout)
        return http.client.HTTPConnection(parts.netloc, timeout=timeout)


def find_engine() -> EngineAPI | None:
    """Return the engine that DOCKER_HOST names, or the one at the usual socket, if it answers."""
    engine = EngineAPI(os.environ.get("DOCKER_HOST") or USUAL_SOCKET)
    return engine if engine.answers() else None


def require_engine() -> EngineAPI:
    """Return the engine that `find_engine` finds. Raises EngineError where there is none."""
    engine = find_engine()
    if engine is None:
        raise EngineError("no Docker engine answers; `make test` starts one")
    return engine


def cache_directory() -> Path:
    """Return the directory for what is worth keeping between runs, made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "ci-server"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
