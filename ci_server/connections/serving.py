"""Runs an application on uvicorn, and stops it within about two seconds."""

import asyncio
import contextlib
import errno
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from ci_common.errors import CiError
from ci_server.connections import Protocol
from ci_server.connections.request_head import HEAD_SECONDS, MOST_CONNECTIONS
from ci_server.connections.tls import Certificate
from ci_server.connections.tracker import spare_descriptors, track_connections
from ci_server.http.exchange import GRACE_SECONDS

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STOP_SECONDS = 2
_BACKLOG = 2048


class CannotListen(CiError):
    """The address is in use, is not this machine's, or may not be used by this user."""


async def serve(
    app: Starlette,
    *,
    host: str | None = None,
    port: int | None = None,
    uds: Path | None = None,
    on_ready: Callable[[str], None],
    install_signal_handlers: bool = True,
    max_connections: int = MOST_CONNECTIONS,
    certificate: Certificate | None = None,
) -> None:
    """Serve `app` on `host` and `port` (default 127.0.0.1, any free port) or on the Unix socket `uds`.

    At most `max_connections` are open at once. With a `certificate`, it speaks TLS alone.
    Calls `on_ready` with the URL once requests are answered. Runs until SIGINT or SIGTERM, or until it is cancelled:
    then streams end at once, and other requests have a second. Raises CannotListen, and whatever the application's
    lifespan raises.
    """
    with contextlib.ExitStack() as stack:
        listener, url = stack.enter_context(_listening(host or "127.0.0.1", port or 0, uds))
        if certificate is not None:
            url = url.replace("http:", "https:", 1)
        server = _Server(_config(app), lambda: on_ready(url), lambda: app.state.shutdown.start(), certificate)
        track_connections(server.server_state, max_connections)
        async with _watched(certificate):
            await _run(app, listener, server, install_signal_handlers)


@contextlib.asynccontextmanager
async def _watched(certificate: Certificate | None) -> AsyncIterator[None]:
    """Read a certificate again when it changes, while the context is open."""
    if certificate is None:
        yield
        return
    watching = asyncio.create_task(certificate.watch(), name="certificate")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _run(app: Starlette, listener: socket.socket, server: "_Server", signals: bool) -> None:
    async with app.router.lifespan_context(app):
        with _stopped_by_signals(server) if signals else contextlib.nullcontext():
            serving = asyncio.create_task(server.serve([listener]), name="serve")
            try:
                await asyncio.shield(serving)
            except asyncio.CancelledError:
                server.leave()
                await serving
                raise


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        lifespan="off",  # `_run` enters it, so that its errors are raised there.
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # `ci_server.http.forwarding` does it; a layer costs memory for every waiting request.
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


class _Server(uvicorn.Server):
    """uvicorn, with the process's signals left alone, and with `on_leave` called when it begins to stop."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[], None],
        on_leave: Callable[[], None],
        certificate: Certificate | None,
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_leave = on_leave
        self._certificate = certificate

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # Connections that arrive together are accepted together, and a refused one keeps its descriptor for a moment.
        self.config.backlog = min(_BACKLOG, max(1, spare_descriptors() // 2))
        if self._certificate is None:
            await super().startup(sockets)
        else:
            await super().startup([])
            await self._listen_with_tls(sockets or [], self._certificate)
        self._on_ready()

    async def _listen_with_tls(self, sockets: list[socket.socket], certificate: Certificate) -> None:
        """As uvicorn does, but with a limit for handshakes, which come before all that is tracked."""

        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return made

        for listener in sockets:
            server = await asyncio.get_running_loop().create_server(
                protocol,
                sock=listener,
                ssl=certificate.context,
                ssl_handshake_timeout=HEAD_SECONDS,
                ssl_shutdown_timeout=_STOP_SECONDS,
                backlog=self.config.backlog,
            )
            self.servers.append(server)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def leave(self) -> None:
        """Stop; the second call stops without waiting for requests."""
        self.force_exit = self.should_exit
        self.should_exit = True
        # Before the requests are cancelled, so that a closed connection ends them instead of an answer that breaks off.
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._abort_unread)
        self._on_leave()

    def _abort_unread(self) -> None:
        """Abort the connections whose clients do not read what was sent to them."""
        for connection in tuple(self.server_state.connections):
            if connection.transport.get_write_buffer_size() > 0:
                connection.transport.abort()


@contextlib.contextmanager
def _stopped_by_signals(server: _Server) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, server.leave)
    try:
        yield
    finally:
        for number, handler in previous.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


@contextlib.contextmanager
def _listening(host: str, port: int, uds: Path | None) -> Iterator[tuple[socket.socket, str]]:
    """Yield a bound socket and its URL. Raises CannotListen."""
    if uds is not None:
        with _unix_socket(uds) as listener:
            yield listener, f"unix:{uds}"
        return
    name = f"[{host}]" if ":" in host else host
    with contextlib.ExitStack() as stack:
        with _cannot_listen(f"{name}:{port}"):
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        yield listener, f"http://{name}:{listener.getsockname()[1]}"


@contextlib.contextmanager
def _cannot_listen(where: str) -> Iterator[None]:
    """Turn errors of the system into CannotListen."""
    try:
        yield
    except OSError as exc:
        taken = "; another server runs there: stop it, or choose another port" if exc.errno == errno.EADDRINUSE else ""
        raise CannotListen(f"cannot listen at {where}: {exc.strerror or exc}{taken}") from exc


@contextlib.contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """Yield a socket bound at `path`, for this user only; a socket file that no process listens on is replaced."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                if not path.is_socket():
                    raise
                path.unlink()
            except FileNotFoundError:
                pass
            else:
                raise CannotListen(f"another process listens on {path} already")
        with _cannot_listen(str(path)):
            listener.bind(str(path))
            path.chmod(0o600)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)
