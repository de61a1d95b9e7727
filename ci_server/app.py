"""The HTTP API as an ASGI application. `uvicorn ci_server.app:app` runs it, by default with a controller."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import FrameType

from starlette.applications import Starlette

from ci_common.settings import Settings
from ci_common.system.disk import Disk
from ci_persistence.open import open_installation
from ci_persistence.storage import Storage
from ci_server.access.addresses import check_address
from ci_server.endpoints import everyone_is_local, identify_sender, routes_of
from ci_server.http.application import Application
from ci_server.http.exchange import Shutdown
from ci_server.http.prefixes import check_prefix
from ci_server.routes import ENDPOINTS
from ci_server.services import open_services

Companion = Callable[[Settings, Storage], AbstractAsyncContextManager[None]]
"""Something that lives as long as the application does and shares its storage, such as a controller."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

app: Starlette
"""The application for servers that import one. It is made when it is first used."""


def create_api(
    settings: Settings, *, companions: Sequence[Companion] = (), disk: Disk | None = None, private: bool = False
) -> Starlette:
    """Return the application. Its lifespan opens data directory and database, then enters the `companions` in order.

    It raises `OpenAddress` where everyone in the network could do everything: see `ci_server.access.addresses`. With
    `private`, only the process that runs the application can reach it, so that its requests need no keys.

    `app.state.shutdown` is a `Shutdown`. The server that runs the application must start it as soon as it has been told
    to stop. `disk` measures free space, by default on the disks that `settings` name. Raises SettingsError.
    """
    check_prefix(settings.root_path, (endpoint.path for endpoint in ENDPOINTS))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        shutdown = app.state.shutdown = Shutdown()
        async with AsyncExitStack() as stack:
            storage = await stack.enter_async_context(open_installation(settings))
            if not private:
                await check_address(settings, storage.keys)
            app.state.services = await stack.enter_async_context(
                open_services(settings, storage, shutdown, disk or Disk.of(settings))
            )
            for companion in companions:
                await stack.enter_async_context(companion(settings, storage))
            try:
                yield
            finally:
                shutdown.start()

    routes = routes_of(ENDPOINTS, everyone_is_local if private else identify_sender)
    app = Application(settings=settings, routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    return app


def create_app(
    settings: Settings | None = None, *, companions: tuple[Companion, ...] = (), private: bool = False
) -> Starlette:
    """Return the API with a controller in the same process, or without one if `settings.controller` is `off`.

    `settings` default to those of the environment; `companions` are entered after the controller; `private` as in
    `create_api`. Raises SettingsError.
    """
    settings = settings or Settings.from_env()
    if settings.controller == "off":
        return create_api(settings, companions=companions, private=private)
    from ci_controller.main import controlling  # Its dependencies are not installed if only the API runs.

    return create_api(settings, companions=(controlling, *companions), private=private)


def __getattr__(name: str) -> Starlette:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = made = _stand_alone(create_app())
    return made


def _stand_alone(application: Starlette) -> Starlette:
    """Prepare the application for a server that does not know it.

    It starts its shutdown by itself when the process gets a signal to stop, and stops the process if a part fails.
    """
    lifespan_context = application.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        entered = False
        try:
            async with lifespan_context(app):
                entered = True
                with _on_stop_signals(app.state.shutdown.start):
                    yield
        except BaseException:
            if entered:
                signal.raise_signal(signal.SIGTERM)
            raise

    application.router.lifespan_context = lifespan
    return application


@contextlib.contextmanager
def _on_stop_signals(notice: Callable[[], None]) -> Iterator[None]:
    """Call `notice` in the event loop when a signal to stop arrives; the handler that is there already runs too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in _STOP_SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(notice)
        handler = previous[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    handled = [number for number, handler in previous.items() if callable(handler)]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, previous[number])
