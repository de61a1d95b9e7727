"""The API and a controller in this very process, behind a Unix socket in a private directory."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from ci_client.announcement import make_state_directory
from ci_client.errors import ClientError
from ci_client.roots.parts import server_parts
from ci_common.settings import Settings

_LONGEST_PARENT = 70


class EmbeddedServerFailed(ClientError):
    """The server in this process could not start, or ended before it should."""


def embedded_settings(*, carries_jobs: bool) -> Settings:
    """Return the settings of an embedded server: those of the environment, but its database in the state directory."""
    overrides: dict[str, Any] = {}
    if not os.environ.get("CI_DB_PATH"):
        overrides["db_path"] = make_state_directory() / "ci_jobs.db"
    if not os.environ.get("CI_LOG_LEVEL"):
        overrides["log_level"] = "error"
    if not carries_jobs:
        overrides["controller"] = "off"
    return Settings.from_env(**overrides)


@asynccontextmanager
async def embedded_server(*, carries_jobs: bool) -> AsyncIterator[str]:
    """Serve for as long as the block lasts, and give the server's URL. Jobs go on after it.

    Should the server end by itself, the block is cancelled and EmbeddedServerFailed raised. Also raises
    ServerPartsMissing and SettingsError.
    """
    with server_parts():
        from ci_server.app import create_app
        from ci_server.serving import serve

    settings = embedded_settings(carries_jobs=carries_jobs)
    with _private_directory() as directory:
        socket = Path(directory, "api.sock")
        ready = asyncio.Event()
        serving = asyncio.create_task(
            serve(
                create_app(settings),
                uds=socket,
                on_ready=lambda url: ready.set(),  # noqa: ARG005  # the socket's name is known
                log_level=settings.log_level,
                install_signal_handlers=False,
            ),
            name="embedded-server",
        )
        async with _watched(serving):
            await ready.wait()
            yield f"unix://{socket}"


def _private_directory() -> "tempfile.TemporaryDirectory[str]":
    """Return a temporary directory, closed to others, with a name that is short enough for a socket in it."""
    usual = tempfile.gettempdir()
    short = "/tmp" if len(usual) > _LONGEST_PARENT else usual  # noqa: S108
    return tempfile.TemporaryDirectory(prefix="ci-", dir=short, ignore_cleanup_errors=True)


@asynccontextmanager
async def _watched(serving: "asyncio.Task[None]") -> AsyncIterator[None]:
    """End the server with the block, and the block with the server."""
    block = asyncio.current_task()
    assert block is not None, "runs in a task"
    leaving = failed = False

    def end_block(_: "asyncio.Task[None]") -> None:
        nonlocal failed
        if not leaving:
            failed = True
            block.cancel()

    serving.add_done_callback(end_block)
    try:
        yield
    except asyncio.CancelledError:
        if not failed:
            raise
        block.uncancel()
        error = None if serving.cancelled() else serving.exception()
        raise EmbeddedServerFailed(f"the embedded server ended: {error or 'without an error'}") from error
    finally:
        leaving = True
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({serving})
