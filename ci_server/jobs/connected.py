"""Work for a request that ends with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request


@asynccontextmanager
async def while_connected(request: Request) -> AsyncIterator[None]:
    """Raise ClientDisconnect in the context as soon as the client disconnects. The body must have been read."""
    interrupted = asyncio.timeout(None)

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        interrupted.reschedule(0)

    watching = asyncio.create_task(watch(), name="client-watch")
    try:
        async with interrupted:
            yield
    except TimeoutError:
        if not interrupted.expired():
            raise
        raise ClientDisconnect from None
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
