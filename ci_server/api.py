"""The HTTP API as an ASGI application."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette

from ci_common.settings import Settings
from ci_common.system.disk import Disk
from ci_persistence.sqlite.repository import open_installation
from ci_persistence.storage import Storage
from ci_server.endpoints import routes_of
from ci_server.http.application import Application, HostCheck
from ci_server.http.exchange import Shutdown
from ci_server.routes import ENDPOINTS
from ci_server.services import open_services

Companion = Callable[[Settings, Storage], AbstractAsyncContextManager[None]]
"""Something that lives as long as the application does and shares its repository, such as a controller."""


def create_api(settings: Settings, *, companions: Sequence[Companion] = (), disk: Disk | None = None) -> Starlette:
    """Return the application. Its lifespan opens data directory and database, then enters the `companions` in order.

    `app.state.shutdown` is a `Shutdown`. The server that runs the application must start it as soon as it has been told
    to stop. `disk` measures free space, by default on the disks that `settings` name.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        shutdown = app.state.shutdown = Shutdown()
        async with AsyncExitStack() as stack:
            repository = await stack.enter_async_context(open_installation(settings))
            app.state.services = await stack.enter_async_context(
                open_services(settings, repository, shutdown, disk or Disk.of(settings))
            )
            for companion in companions:
                await stack.enter_async_context(companion(settings, repository))
            try:
                yield
            finally:
                shutdown.start()

    app = Application(hosts=HostCheck.of(settings), routes=routes_of(ENDPOINTS), lifespan=lifespan)
    app.router.redirect_slashes = False
    return app
