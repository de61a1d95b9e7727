"""Gives refusals time to arrive.

A client that is still sending its body when the connection is closed finds it broken, and may never read the answer. So
the answer is sent at once, what still comes is thrown away for a while, and only then the connection is closed.
"""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from ci_server.http.shutdown import Leaving

_LINGER_SECONDS = 30.0
_REQUEST_TIMEOUT = 408

NO_SNIFFING = (b"x-content-type-options", b"nosniff")
"""The header that keeps browsers from taking text that a job wrote for a page."""


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return the request's first header of that name, which is in lower case, or None where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


class Exchange:
    """One request and its answer: `receive` and `send` for the application, in place of the server's own."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, leaving: Leaving) -> None:
        length = header_of(scope, b"content-length")
        self._body_is_coming = length not in (None, "0") or header_of(scope, b"transfer-encoding") is not None
        self._receive = receive
        self._send = send
        self._leaving = leaving
        self._lingers = False
        self.status = 0
        """Of the answer; 0 until it begins."""

    async def receive(self) -> Message:
        message = await self._receive()
        self._body_is_coming = bool(message.get("more_body", False))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"].append(NO_SNIFFING)
            if self._body_is_coming and self.status >= 400:
                MutableHeaders(raw=message["headers"])["Connection"] = "close"
                self._lingers = self.status != _REQUEST_TIMEOUT  # Its client has been waited for long enough.
        elif self._lingers and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._discard_body()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _discard_body(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = asyncio.timeout(_LINGER_SECONDS)
        try:
            async with deadline:
                with self._leaving.telling(lambda: deadline.reschedule(loop.time())):
                    while self._body_is_coming:
                        await self.receive()
        except TimeoutError:
            pass  # It has had its time.
