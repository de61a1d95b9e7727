"""A read-only image registry and a relay in front of the engine, both under the control of a test."""

import asyncio
import hashlib
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.contracts.docker_bench import remove_image
from tests.engine.api import EngineAPI
from tests.engine.images import busybox_layer

# A read-only image registry on the loopback interface, whose blobs a test can hold back.
#
# It speaks as much of the distribution API (version 2) as an engine needs to pull; engines take plain HTTP from
# 127.0.0.0/8.

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_PIECE = 256 * 1024


def digest_of(content: bytes) -> str:
    """Return the digest as registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer_with(name: str, content: bytes) -> bytes:
    """Return a layer that holds one file."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return result.getvalue()


@dataclass
class Registry:
    """What it serves, what it holds back, and what it was asked for."""

    address: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    """`GET blobs/sha256:…` and the like → how often. Manifests are named by what they were asked for by."""
    connections_lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a client has gone before it had all of a blob."""
    failing: int | None = None
    """A status with which every request for a blob is refused."""
    _manifests: dict[str, bytes] = field(default_factory=dict)
    _blobs: dict[str, bytes] = field(default_factory=dict)
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _stalled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._open.set()

    def add_image(self, repository: str, tag: str, layers: list[bytes], *, architecture: str) -> str:
        """Serve an image; return its reference."""
        config: dict[str, Any] = {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        }
        described = self._describe(json.dumps(config).encode(), _CONFIG)
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described,
            "layers": [self._describe(layer, _LAYER) for layer in layers],
        }
        content = json.dumps(manifest).encode()
        self._manifests[f"{repository}:{tag}"] = self._manifests[f"{repository}:{digest_of(content)}"] = content
        return f"{self.address}/{repository}:{tag}"

    def digest(self, repository: str, tag: str) -> str:
        """Return the digest of an image's manifest."""
        return digest_of(self._manifests[f"{repository}:{tag}"])

    @contextmanager
    def stalled(self) -> Iterator[asyncio.Event]:
        """Hold back all but the first piece of every large blob; yields the event that one is being held back."""
        self._open.clear()
        self._stalled.clear()
        try:
            yield self._stalled
        finally:
            self._open.set()

    def _describe(self, content: bytes, kind: str) -> dict[str, Any]:
        self._blobs[digest_of(content)] = content
        return {"mediaType": kind, "size": len(content), "digest": digest_of(content)}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        try:
            # An engine tries TLS first; told at once that this is none, it goes on with HTTP.
            first = await reader.readexactly(1)
            head = first if first == b"\x16" else first + await reader.readuntil(b"\r\n\r\n")
            method, path, _ = [*head.decode("latin-1").split(" ", 2), "", ""][:3]
            await self._serve(method, path, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.connections_lost.set()
        finally:
            writer.close()

    async def _serve(self, method: str, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = path.strip("/").split("/")
        if parts == ["v2"]:
            return await _reply(writer, 200, b"{}", "application/json")
        if len(parts) < 4 or parts[0] != "v2" or parts[-2] not in ("manifests", "blobs"):
            return await _reply(writer, 400, b"no such thing here", "text/plain")
        kind, reference = parts[-2:]
        self.requests[f"{method} {kind}/{reference}"] += 1
        if kind == "manifests":
            content = self._manifests.get(f"{'/'.join(parts[1:-2])}:{reference}")
            if content is None:
                unknown = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})
                return await _reply(writer, 404, unknown.encode(), "application/json")
            return await _reply(writer, 200, content, MANIFEST, with_body=method == "GET")
        if self.failing is not None:
            return await _reply(writer, self.failing, b"the registry is unwell", "text/plain")
        return await self._send_blob(reader, writer, self._blobs[reference])

    async def _send_blob(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes) -> None:
        await _reply(writer, 200, content, "application/octet-stream", with_body=False)
        for start in range(0, len(content), _PIECE):
            if start > 0 and not self._open.is_set():
                self._stalled.set()
                await self._open_or_lost(reader)
            writer.write(content[start : start + _PIECE])
            await writer.drain()

    async def _open_or_lost(self, reader: asyncio.StreamReader) -> None:
        opened, lost = asyncio.ensure_future(self._open.wait()), asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({opened, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not opened.done():
                raise ConnectionError("the client has gone")
        finally:
            opened.cancel()
            lost.cancel()
            await asyncio.gather(opened, lost, return_exceptions=True)


async def _reply(
    writer: asyncio.StreamWriter, status: int, content: bytes, kind: str, *, with_body: bool = True
) -> None:
    lines = [
        f"HTTP/1.1 {status} -",
        "Docker-Distribution-Api-Version: registry/2.0",
        f"Docker-Content-Digest: {digest_of(content)}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(content)}",
        "Connection: close",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + (content if with_body else b""))
    await writer.drain()


@asynccontextmanager
async def serve_registry() -> AsyncIterator[Registry]:
    """Serve an empty registry on a free port of the loopback interface."""
    registry = Registry()
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(registry.answer(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    registry.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield registry
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


# An image that the engine does not have and can pull.

NOISE = os.urandom(20_000_000)
"""Cannot be compressed, and is in no image the engine has seen before."""
NOISE_LAYER = layer_with("noise", NOISE)


@contextmanager
def served_image(registry: Registry, engine: EngineAPI) -> Iterator[str]:
    """Serve an image with a shell and a large layer; yield its reference. The engine has it no more afterwards."""
    architecture = json.loads(engine.request("GET", "/version"))["Arch"]
    image = registry.add_image("some/image", "v1", [busybox_layer(), NOISE_LAYER], architecture=architecture)
    try:
        yield image
    finally:
        remove_image(engine, image)


# A relay in front of an engine's socket, which a test can cut, or leave silent.


class Relay:
    """Copies bytes both ways between clients and `target`, while it is told to."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    async def open(self) -> None:
        """Take connections (again)."""
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self.path)

    async def cut(self) -> None:
        """Refuse connections, and break those that are there, as an engine does that is killed."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._target)
        copies = [asyncio.ensure_future(_copy(reader, back)), asyncio.ensure_future(_copy(there, writer))]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            for end in (writer, back):
                end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()


@asynccontextmanager
async def serve_relay(path: Path, target: Path) -> AsyncIterator[Relay]:
    """Run a relay at `path`."""
    relay = Relay(path, target)
    await relay.open()
    try:
        yield relay
    finally:
        await relay.cut()
