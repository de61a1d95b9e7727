"""A server that answers as HashiCorp Vault's KV engine, version 2, is documented to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass
class Vault:
    """What the server has, and how it is reached."""

    url: str = ""
    token: str = "hvs.token-of-the-test"
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The fields of each secret, by `MOUNT/PATH`."""
    deleted: set[str] = field(default_factory=set)
    sealed: bool = False
    redirect: str | None = None
    asked: list[str] = field(default_factory=list)
    namespaces: list[str | None] = field(default_factory=list)

    def answer(self, path: str, token: str | None) -> tuple[int, Any]:
        """Return status and body for `GET path`."""
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if token != self.token:
            return 403, {"errors": ["permission denied"]}
        mount, _, rest = path.removeprefix("/v1/").partition("/data/")
        key = f"{unquote(mount)}/{unquote(rest)}"
        about = {"created_time": "2026-01-01T00:00:00Z", "custom_metadata": None, "destroyed": False, "version": 3}
        if key in self.deleted:
            return 404, {"data": {"data": None, "metadata": {**about, "deletion_time": "2026-01-02T00:00:00Z"}}}
        if key not in self.secrets:
            return 404, {"errors": []}
        data = {"data": self.secrets[key], "metadata": {**about, "deletion_time": ""}}
        return 200, {"request_id": "1", "lease_id": "", "renewable": False, "lease_duration": 0, "data": data}


@contextmanager
def vault_server() -> Iterator[Vault]:
    """Serve a Vault on a free port."""
    vault = Vault()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            vault.asked.append(self.path)
            vault.namespaces.append(self.headers.get("X-Vault-Namespace"))
            status, body = vault.answer(self.path, self.headers.get("X-Vault-Token"))
            if vault.redirect is not None:
                status, body = 307, {}
            content = json.dumps(body).encode()
            self.send_response(status)
            if vault.redirect is not None:
                self.send_header("Location", vault.redirect)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    vault.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield vault
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
