"""The same for interpreters that have no httptools, on uvicorn's protocol for h11.

h11 itself takes headers of at most 64 KiB, parses one request of a connection at a time, and ignores other protocols.
"""

from asyncio import BaseTransport, Transport
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from ci_common.errors import RequestStalled, TooManyConnections
from ci_server.connections.limits import HEAD_SECONDS
from ci_server.connections.refusals import refusal
from ci_server.connections.tracker import Door, door_of


class FallbackProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._door: Door = door_of(self.server_state)
        self._has_begun = False
        """Whether anything has come of the present request."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Transport, transport))
        if not self._door.admit(self):
            self._write(TooManyConnections("as many connections are open as the server takes; try again later"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.expect_nothing(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_begun = True
        self._door.hear(self)
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._door.expect_nothing(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            return  # Another request was there already.
        self._has_begun = False
        self._door.expect_request(self)

    def time_is_up(self) -> None:
        if self._has_begun:
            self._write(RequestStalled(f"the headers did not come within {HEAD_SECONDS} s"))
        else:
            self.transport.close()

    def give_way(self) -> None:
        self.transport.abort()

    def _write(self, error: RequestStalled | TooManyConnections) -> None:
        self.transport.write(refusal(error, self.server_state.default_headers))
        self.transport.close()
