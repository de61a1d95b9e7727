"""Tells a missing installation of the server's parts from a mistake in them."""

from collections.abc import Iterator
from contextlib import contextmanager

from ci_client.errors import ServerPartsMissing

_LIBRARIES = frozenset(
    {
        *("aiodocker", "aiohttp", "aiosqlite", "httptools", "python_multipart"),
        *("sse_starlette", "starlette", "uvicorn", "uvloop", "yaml"),
    }
)


@contextmanager
def server_parts(alternative: str = "") -> Iterator[None]:
    """Import the server's parts in this block. Raises ServerPartsMissing where a library of theirs is missing.

    `alternative` is what else the user can do, for the message.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        name = (exc.name or "").partition(".")[0]
        if name not in _LIBRARIES:
            raise
        raise ServerPartsMissing(name, alternative) from exc
