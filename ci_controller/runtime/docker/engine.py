"""The one way to the engine: finding it, asking it with a time limit, and translating what goes wrong.

`Engine.call` is the only place where errors of aiodocker, aiohttp and the operating system become ours. A refusal is a
RuntimeUnavailable too: who does not expect the engine to say no has learnt nothing about any container.
"""

import asyncio
import json
import os
import platform
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiodocker
import aiohttp

from ci_common.errors import SettingsError
from ci_common.runtime_faults import RuntimeUnavailable

PATIENCE = 60.0
"""Seconds an engine may take to answer. A loaded one takes long to create or remove a container."""
PING_PATIENCE = 5.0
_PIECE_BYTES = 1 << 20


class Refusal(RuntimeUnavailable):
    """The engine answered with an error. `status` is that of HTTP; 0 where the error came within a stream."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Absent(Refusal):
    """The engine says that there is no such thing (404)."""


class Conflict(Refusal):
    """The name is in use, or the thing is being removed at this moment (409)."""


_REFUSALS: dict[int, type[Refusal]] = {404: Absent, 409: Conflict}
_STOPPING = ("the client connection is closing", "transport is closing")
"""What an engine that is being stopped answers with status 500: it has closed its connection to containerd."""
_IN_USE = "that name is already in use"
"""What Podman answers with status 500 where Docker says 409."""
_UNREACHABLE = 900  # aiodocker's own status for a connection that could not be made or broke.


_ENFORCING = {"memory": "MemoryLimit", "pids": "PidsLimit", "cpus": "CpuCfsQuota"}
_LIMITING_STORAGE = frozenset({("overlay2", "xfs"), ("btrfs", None), ("zfs", None)})


def _storage(info: Mapping[str, Any]) -> tuple[str | None, str | None]:
    driver = info.get("Driver")
    below = dict(info.get("DriverStatus") or ()).get("Backing Filesystem")
    return driver, below if driver == "overlay2" else None


def _layers(info: Mapping[str, Any]) -> Path | None:
    driver, root = info.get("Driver"), Path(str(info.get("DockerRootDir") or ""))
    return root / driver if driver == "overlay2" and root.is_absolute() else None


@dataclass(frozen=True, slots=True)
class Traits:
    """What matters to us in how the engine is set up."""

    processors: int
    remapped: bool
    """The daemon gives containers other user ids than the machine's (userns-remap)."""
    rootless: bool
    """The daemon itself is not root, and containers have its user's ids."""
    selinux: bool
    unenforced: frozenset[str] = frozenset()
    """The limits that the kernel below the engine does not know: the engine drops them with a warning."""
    counts_swap: bool = True
    """A limit on memory and swap together is possible."""
    memory: int = 0
    """The bytes of memory that the engine's machine has; 0 where it does not say."""
    podman: bool = False
    """The engine is Podman, which speaks Docker's language."""
    may_limit_layers: bool = False
    """The engine's storage is of a kind that can limit what a container writes outside of its mounts."""
    layers: Path | None = None
    """The directory in which the engine makes one for each container and layer; None where that is not known."""

    @property
    def unfiltered(self) -> str | None:
        """Why no packet filter of this machine can confine the networks of containers; None if one may."""
        if self.rootless:
            return "the engine is rootless, so its networks are not this machine's"
        return "Podman makes the bridges of its networks in its own way" if self.podman else None

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> Self:
        """Read the answer of `GET /info`."""
        security = ",".join(info.get("SecurityOptions") or ())
        # Podman says it in a field of its own. It reports limits also where it cannot set them.
        rootless = "name=rootless" in security or info.get("Rootless") is True
        unlimited = info.get("Rootless") is True and info.get("CgroupVersion") == "1"
        return cls(
            processors=int(info.get("NCPU") or os.cpu_count() or 1),
            memory=int(info.get("MemTotal") or 0),
            remapped="name=userns" in security,
            rootless=rootless,
            podman="BuildahVersion" in info,
            selinux="name=selinux" in security,
            unenforced=frozenset(
                limit for limit, trait in _ENFORCING.items() if unlimited or not info.get(trait, True)
            ),
            counts_swap=bool(info.get("SwapLimit", True)),
            may_limit_layers=_storage(info) in _LIMITING_STORAGE,
            layers=_layers(info),
        )


class Engine:
    """A connection to one engine. `open` before anything else; any number of calls may be under way at once."""

    def __init__(self, url: str | None, *, patience: float = PATIENCE) -> None:
        """`url` as in DOCKER_HOST; None for the usual sockets. Raises SettingsError for one we cannot use."""
        self._url = url
        self._patience = patience
        self._address = url
        self._docker: aiodocker.Docker | None = None
        self._connector: aiohttp.BaseConnector | None = None
        if url is not None:
            _check_url(url)

    @property
    def address(self) -> str | None:
        """Where the engine is, as in DOCKER_HOST; None before `open` where no URL was given."""
        return self._address

    async def open(self) -> Traits:
        """Connect and return the engine's traits. Raises RuntimeUnavailable; may be called again then."""
        await self.close()
        self._address = self._url or _usual_url()
        self._docker, self._connector = _client(self._address)
        try:
            async with self.call(min(PING_PATIENCE, self._patience)) as docker:
                info = await docker.system.info()
            _check_kernel(self._address, info)
        except BaseException:
            await self.close()
            raise
        return Traits.from_info(info)

    async def close(self) -> None:
        """Disconnect. May be called twice, and without `open`."""
        docker, connector = self._docker, self._connector
        self._docker = self._connector = None
        if docker is not None:
            await docker.close()
        if connector is not None:
            await connector.close()

    @asynccontextmanager
    async def call(self, patience: float | None = -1.0) -> AsyncIterator[aiodocker.Docker]:
        """Lend the client for one question; `patience` in seconds, None for no limit, by default the engine's.

        Raises Absent, Conflict or another Refusal where the engine says no, RuntimeUnavailable where it says nothing.
        """
        docker = self._docker
        if docker is None:
            raise RuntimeUnavailable("there is no connection to the Docker engine")
        limit = self._patience if patience == -1.0 else patience
        try:
            async with asyncio.timeout(limit):
                yield docker
        except aiodocker.DockerError as exc:
            if exc.status == _UNREACHABLE:
                raise RuntimeUnavailable(f"no Docker engine answers at {self._address}: {_why(exc)}") from exc
            if exc.status >= 500 and any(words in exc.message for words in _STOPPING):
                raise RuntimeUnavailable(f"the Docker engine at {self._address} is stopping: {exc.message}") from exc
            status = 409 if exc.status >= 500 and _IN_USE in exc.message else exc.status
            raise _REFUSALS.get(status, Refusal)(exc.message, status) from exc
        except TimeoutError as exc:
            raise RuntimeUnavailable(f"the Docker engine did not answer within {limit} s") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise RuntimeUnavailable(f"the connection to the Docker engine broke: {exc}") from exc
        except (AssertionError, RuntimeError) as exc:
            if docker is self._docker:
                raise
            raise RuntimeUnavailable("the connection to the Docker engine was closed in between") from exc
        except json.JSONDecodeError as exc:
            raise RuntimeUnavailable(f"what answers is not a Docker engine: {exc}") from exc

    @asynccontextmanager
    async def helper(self, config: Mapping[str, Any]) -> AsyncIterator[str]:
        """Yield the id of a new container that is never started, and remove it afterwards. Raises as `call` does.

        Also for a caller that is cancelled while the engine makes it, as the engine makes it all the same.
        """
        making = asyncio.ensure_future(self._make(config))
        try:
            yield await asyncio.shield(making)
        finally:
            await asyncio.shield(self._remove_made(making))

    async def _make(self, config: Mapping[str, Any]) -> str:
        async with self.call() as docker:
            return str((await docker.containers.create(config)).id)

    async def _remove_made(self, making: "asyncio.Future[str]") -> None:
        try:
            made = await making
        except RuntimeUnavailable:
            return  # The caller has got the same.
        await self.remove_container(made)

    async def remove_container(self, name: str) -> None:
        """Remove a container with its anonymous volumes, killing it where it runs; return once it is gone."""
        try:
            async with self.call() as docker:
                await docker.containers.container(name).delete(force=True, v=True)
        except Absent:
            pass
        except Conflict:  # Its removal has begun already.
            await self._wait_until_removed(name)

    async def _wait_until_removed(self, name: str) -> None:
        try:
            async with self.call() as docker:
                await docker.containers.container(name).wait(condition="removed")
        except Absent:
            pass

    async def send(self, path: str, *, params: Mapping[str, str], data: bytes) -> None:
        """PUT an archive, for which the engine may take as long as it needs."""
        async with aclosing(self.stream("PUT", path, params=params, data=data)) as answers:
            async for _ in answers:
                pass

    async def read(self, path: str, *, params: Mapping[str, str]) -> bytes:
        """Return the whole answer to a GET. Raises as `call` does."""
        async with self.call() as docker:
            url = f"{docker.docker_host}/{docker.api_version}/{path}"
            async with docker.session.get(url, params=params) as response:
                content: bytes = await response.read()
                if response.status >= 400:
                    raise aiodocker.DockerError(response.status, _message(content))
        return content

    async def chunks(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield the answer to a GET in pieces, for which the engine may take as long as it needs.

        Raises as `call` does. Closing it ends the request.
        """
        async with self.call(patience=None) as docker:
            url = f"{docker.docker_host}/{docker.api_version}/{path}"
            endless = aiohttp.ClientTimeout(total=None, sock_connect=self._patience, sock_read=self._patience)
            async with docker.session.get(url, timeout=endless) as response:
                if response.status >= 400:
                    raise aiodocker.DockerError(response.status, _message(await response.read()))
                async for piece in response.content.iter_chunked(_PIECE_BYTES):
                    yield piece

    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the JSON objects of a streamed answer until the engine ends it. Closing it ends the request.

        `data` is an archive to be sent.

        aiodocker's own streams take a broken connection for the end, and a request that is cancelled stays open.
        """
        async with self.call(patience=None) as docker:
            url = f"{docker.docker_host}/{docker.api_version}/{path}"
            endless = aiohttp.ClientTimeout(total=None, sock_connect=self._patience)
            if data is not None:
                headers = {"Content-Type": "application/x-tar"}
            async with docker.session.request(
                method, url, params=params, headers=headers, data=data, timeout=endless
            ) as response:
                if response.status >= 400:
                    raise aiodocker.DockerError(response.status, _message(await response.read()))
                async for line in response.content:
                    if line.strip():
                        yield json.loads(line)


def _why(error: aiodocker.DockerError) -> str:
    cause = error.__context__
    reason = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else cause
    if isinstance(reason, PermissionError):
        return "permission denied; only root and the members of the socket's group (docker) may use it"
    return (isinstance(reason, OSError) and reason.strerror) or str(reason or error.message)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if not ((parts.scheme == "unix" and parts.path) or (parts.scheme in ("tcp", "http") and parts.netloc)):
        raise SettingsError(f"DOCKER_HOST={url!r}: write it as unix:///path/of/the/socket or tcp://127.0.0.1:port")


def _usual_url() -> str:
    candidates = [Path("/var/run/docker.sock"), Path("/run/docker.sock")]
    if "XDG_RUNTIME_DIR" in os.environ:
        candidates.append(Path(os.environ["XDG_RUNTIME_DIR"], "docker.sock"))
    found = next((path for path in candidates if path.is_socket()), candidates[0])
    return f"unix://{found}"


def _client(url: str) -> tuple[aiodocker.Docker, aiohttp.BaseConnector]:
    """With a connector of our own, because aiodocker's opens at most 100 connections and then waits for ever."""
    parts = urlsplit(url)
    connector: aiohttp.BaseConnector
    if parts.scheme == "unix":
        connector = aiohttp.UnixConnector(parts.path, limit=0)
        return aiodocker.Docker(url="unix://localhost", connector=connector), connector
    connector = aiohttp.TCPConnector(limit=0)
    return aiodocker.Docker(url=f"http://{parts.netloc}", connector=connector), connector


def _check_kernel(url: str, info: Mapping[str, Any]) -> None:
    """A gate (FIFO) and inotify work within one kernel only, so not with an engine in a virtual machine."""
    theirs, ours = info.get("KernelVersion"), platform.release()
    if theirs and theirs != ours:
        raise RuntimeUnavailable(
            f"the Docker engine at {url} runs on another kernel ({theirs}, here {ours}), in a virtual machine or on "
            "another host, where it cannot share a job's files with us; run ci beside the engine, or CI_RUNTIME=process"
        )
