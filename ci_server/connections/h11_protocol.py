"""uvicorn's protocol for HTTP/1.1 on h11, with limits, for interpreters that have no httptools.

h11 itself accepts at most 64 KiB of headers, parses one request of a connection at a time, and ignores other protocols.
"""

from asyncio import BaseTransport, Transport
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from ci_server.connections.request_head import no_connection_left, refusal, stalled_head
from ci_server.connections.tracker import ConnectionTracker, tracker_of
from ci_server.http.refusals import RequestStalled, TooManyConnections


class FallbackProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tracker: ConnectionTracker = tracker_of(self.server_state)
        self._has_begun = False
        """Whether anything of the present request has arrived."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Transport, transport))
        if not self._tracker.admit(self):
            self._write(no_connection_left())

    def connection_lost(self, exc: Exception | None) -> None:
        self._tracker.expect_nothing(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_begun = True
        self._tracker.on_data(self)
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._tracker.expect_nothing(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            return  # Another request had arrived already.
        self._has_begun = False
        self._tracker.expect_request(self)

    def on_timeout(self) -> None:
        if self._has_begun:
            self._write(stalled_head())
        else:
            self.transport.close()

    def evict(self) -> None:
        self.transport.abort()

    def _write(self, error: RequestStalled | TooManyConnections) -> None:
        self.transport.write(refusal(error, self.server_state.default_headers))
        self.transport.close()
