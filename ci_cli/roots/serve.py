"""`ci serve`: the API, by default with a controller. `ci controller`: the controller alone."""

import asyncio
import gc
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

from ci_cli.announcement import announced
from ci_cli.console import say
from ci_client.errors import StateUnavailable
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.process_tuning import allow_many_descriptors, set_thread_switch_interval
from ci_common.system.reporting import log_to_stderr
from ci_controller.environments.builds import staged
from ci_controller.main import run_controller as control
from ci_server.app import create_app
from ci_server.connections.serving import serve
from ci_server.connections.tls import Certificate

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # recognised, not bound

_LOOK_SECONDS = 0.5
_GC_THRESHOLDS = 10_000, 20, 20
"""Python collects cycles after every 700 new objects by default, fewer than a burst of requests keeps alive."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop, or asyncio's own on a Python that has no uvloop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def run_server(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, announced to this user's other commands.

    Raises CannotListen, and what keeps the application from starting.
    """
    _prepare_process(settings)
    certificate = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        certificate = Certificate(settings.tls_cert, settings.tls_key)
    with ExitStack() as stack:

        def announce(url: str) -> None:
            gc.freeze()  # Objects that exist at this point stay for good, so collections need not examine them.
            gc.set_threshold(*_GC_THRESHOLDS)
            url = _reachable(url)
            say(f"serving at {url}")
            if certificate is not None:
                # The certificate has another name than the address, so that they could not make sure of it.
                name = f"NAME:{urlsplit(url).port}"
                say(f"give other commands the name in the certificate: export CI_SERVER_URL=https://{name}")
                return
            try:
                stack.enter_context(announced(url))
            except (OSError, StateUnavailable) as exc:
                say(f"other commands cannot find it by themselves; give them --server {url} ({exc})")
            say("submit a project from another terminal: ci submit .    (Ctrl-C stops; jobs go on)")

        await serve(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            on_ready=announce,
            max_connections=settings.max_connections,
            certificate=certificate,
        )


async def run_controller(settings: Settings, *, until_prepared: bool = False) -> None:
    """Carry jobs out until SIGTERM or SIGINT, for an API that runs with CI_CONTROLLER=off.

    With `until_prepared`, end also once no environment is left to be made.
    """
    _prepare_process(settings)
    if not until_prepared:
        await control(settings)
        return
    controlling = asyncio.create_task(control(settings), name="controller")
    data = DataDirectory(settings.data_path)
    while not controlling.done() and staged(data):
        await asyncio.wait({controlling}, timeout=_LOOK_SECONDS)
    controlling.cancel()
    with suppress(asyncio.CancelledError):
        await controlling


def _prepare_process(settings: Settings) -> None:
    log_to_stderr(settings.log_level)
    allow_many_descriptors()
    set_thread_switch_interval()


def _reachable(url: str) -> str:
    """Return `url` with the loopback address in place of the one that stands for all addresses."""
    parts = urlsplit(url)
    address = _EVERY_ADDRESS.get(parts.hostname or "")
    return url if address is None else f"{parts.scheme}://{address}:{parts.port}"
