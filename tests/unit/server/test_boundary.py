"""What is answered where a request is cut off by the end of the server."""

import asyncio
from types import SimpleNamespace

import pytest
from starlette.types import Message, Receive, Scope, Send

from ci_server.leaving import Leaving
from ci_server.middleware import Boundary


async def cut_off(leaving: Leaving) -> list[Message]:
    """Cancel a request that waits for something; return what has been answered."""
    waits = asyncio.Event()
    sent: list[Message] = []

    async def application(_scope: Scope, _receive: Receive, _send: Send) -> None:
        waits.set()
        await asyncio.Event().wait()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    app = SimpleNamespace(state=SimpleNamespace(leaving=leaving))
    scope = {"type": "http", "method": "GET", "path": "/jobs", "query_string": b"", "headers": [], "app": app}
    request = asyncio.create_task(Boundary(application)(scope, receive, send))
    await waits.wait()
    request.cancel()
    await request
    return sent


async def test_a_server_that_waits_no_longer_says_so() -> None:
    leaving = Leaving()
    leaving.begin()
    sent = await cut_off(leaving)
    assert sent[0]["status"] == 503


async def test_any_other_cancellation_stays_one() -> None:
    with pytest.raises(asyncio.CancelledError):
        await cut_off(Leaving())
