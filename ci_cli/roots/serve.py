"""`ci serve`: the API, by default with a controller, until it is told to stop."""

import asyncio
import gc
from contextlib import ExitStack
from urllib.parse import urlsplit

from ci_cli.announcement import announced
from ci_cli.console import say
from ci_cli.roots.parts import server_parts
from ci_client.errors import StateUnavailable
from ci_common.settings import Settings
from ci_common.system.descriptors import allow_many_descriptors
from ci_common.system.reporting import log_to_stderr
from ci_common.system.thread_switching import take_short_turns

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # recognised, not bound

_GC_THRESHOLDS = 10_000, 20, 20
"""Python looks for cycles after every 700 new objects by default; a burst of requests has more than that alive."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return the fastest event loop there is here; where the server's parts are missing, `run_server` says so."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def run_server(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, announced to this user's other commands.

    Raises ServerPartsMissing, CannotListen, and what its parts cannot begin without.
    """
    with server_parts():
        from ci_server.app import create_app
        from ci_server.connections.serving import serve

    log_to_stderr(settings.log_level)
    allow_many_descriptors()
    take_short_turns()
    with ExitStack() as stack:

        def tell(url: str) -> None:
            gc.freeze()  # What is there by now stays; looking through it again and again would be in vain.
            gc.set_threshold(*_GC_THRESHOLDS)
            url = _reachable(url)
            say(f"serving at {url}")
            try:
                stack.enter_context(announced(url))
            except (OSError, StateUnavailable) as exc:
                say(f"other commands must be told where it is, with --server {url} ({exc})")
            say("submit a project from another terminal: ci submit .    (Ctrl-C stops; jobs go on)")

        await serve(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            on_ready=tell,
            max_connections=settings.max_connections,
        )


def _reachable(url: str) -> str:
    """Return a URL that leads here, from one that names all addresses of the machine."""
    parts = urlsplit(url)
    address = _EVERY_ADDRESS.get(parts.hostname or "")
    return url if address is None else f"{parts.scheme}://{address}:{parts.port}"
