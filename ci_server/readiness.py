"""Whether the API can take work, and if not, which part of it fails."""

import asyncio
import tempfile

from starlette.responses import Response

from ci_common.errors import DiskLow, FieldError, Unavailable
from ci_server.http.problems import problem_of
from ci_server.http.responses import Document
from ci_server.services import Services

_PING_SECONDS = 5.0


async def readiness(services: Services) -> Response:
    """Return 200, or 503 with one entry in `errors` for each part that fails."""
    checks = (_shutdown(services), await _database(services), _data_directory(services), _disk(services))
    failing = [error for error in checks if error]
    if failing:
        return problem_of(Unavailable("; ".join(f"{e.path}: {e.message}" for e in failing), *failing))
    return Document({"status": "ok"})


def _shutdown(services: Services) -> FieldError | None:
    return FieldError("server", "it is shutting down") if services.shutdown.started else None


async def _database(services: Services) -> FieldError | None:
    try:
        async with asyncio.timeout(_PING_SECONDS):
            await services.storage.ping()
    except TimeoutError:
        return FieldError("database", f"it has not answered for {_PING_SECONDS:g} s")
    except Unavailable as exc:
        return FieldError("database", exc.detail)
    return None


def _data_directory(services: Services) -> FieldError | None:
    if not services.settings.has_files:
        return None
    try:
        with tempfile.TemporaryFile(dir=services.data.incoming):
            pass
    except OSError as exc:
        return FieldError("data_directory", f"it cannot be written to: {exc.strerror}")
    return None


def _disk(services: Services) -> FieldError | None:
    try:
        services.disk.check()
    except DiskLow as exc:
        return FieldError("disk", exc.detail)
    return None
