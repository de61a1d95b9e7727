"""Reads a request's body as it comes, but not from somebody who hardly sends anything."""

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.requests import ClientDisconnect, Request

from ci_common.errors import RequestStalled

STALL_SECONDS = 60.0
LEAST_BYTES = 1024**2
"""What has to come within STALL_SECONDS: a client that trickles would hold its place among the uploads for ever."""


async def small_body(request: Request, most: int, too_large: Callable[[], Exception]) -> bytes:
    """Return the whole body, which has at most `most` bytes: no more than LEAST_BYTES, so that it has one minute.

    Raises what `too_large` returns, RequestStalled, and ClientDisconnect.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(STALL_SECONDS):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > most:
                    raise too_large()
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise _stalled() from None


def _stalled() -> RequestStalled:
    return RequestStalled(f"less than {LEAST_BYTES} bytes of the body came within {STALL_SECONDS:g} s; send it again")


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """Yield the body's chunks. Time counts while the client is waited for, not while its bytes are dealt with.

    Raises RequestStalled where less than 1 MiB comes within a minute, and ClientDisconnect.
    """
    clock = asyncio.get_running_loop().time
    chunks = request.stream()
    waited, received = 0.0, 0
    while True:
        begun = clock()
        try:
            async with asyncio.timeout(STALL_SECONDS - waited):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _stalled() from None
        waited += clock() - begun
        received += len(chunk)
        if received >= LEAST_BYTES:
            waited, received = 0.0, 0
        yield chunk
