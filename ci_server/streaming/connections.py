"""One connection that reads a stream, and sending to it without a task of its own."""

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any

from starlette.types import Message, Send

ROOM: Message = {"type": "http.response.body", "body": b"", "more_body": True}
"""Sends nothing; sending it takes until the connection has room for more."""
LAST: Message = {"type": "http.response.body", "body": b"", "more_body": False}


def body(frames: bytes, *, more: bool = True) -> Message:
    """Return the message that sends these bytes."""
    return {"type": "http.response.body", "body": frames, "more_body": more}


class Reader:
    """The sending side of one connection. Without what it needs only while it is busy: there may be thousands."""

    __slots__ = ("_request", "abandoned", "send", "task")

    def __init__(self, send: Send) -> None:
        self.send = send
        self.task: asyncio.Task[None] | None = None
        """What sends to it at present, where that could not be done at once."""
        self.abandoned = False
        self._request = asyncio.current_task()

    def abandon(self) -> None:
        """End its request, whatever that waits for, and with it the connection."""
        self.abandoned = True
        if self._request is not None:
            self._request.cancel()


def begun(sending: Awaitable[None]) -> Awaitable[None] | None:
    """Carry out a call of `send` as far as that goes at once; return the rest of it, or None where nothing is left.

    What is returned has to be awaited, by any task.
    """
    steps = sending.__await__()
    try:
        waited_for = next(steps)
    except StopIteration:
        return None
    return _rest(waited_for, steps)


@coroutine
def _rest(waited_for: Any, steps: Generator[Any, Any, None]) -> Generator[Any, Any, None]:
    # The future that stopped it goes to whichever task runs this, as if that had begun it, and so does cancellation.
    try:
        yield waited_for
    except BaseException as error:
        try:
            waited_for = steps.throw(error)
        except StopIteration:
            return
        yield waited_for
    yield from steps
