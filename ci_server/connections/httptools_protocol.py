"""uvicorn's protocol for HTTP/1.1 on httptools, with limits, and with one request of a connection at a time."""

import enum
import logging
from asyncio import BaseTransport, Transport
from collections import deque
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ci_common.errors import RequestError
from ci_server.connections.request_head import (
    HEAD_BYTES,
    PIECE_BYTES,
    PIECE_EFFORT,
    TURN_EFFORT,
    URL_BYTES,
    body_length,
    check_headers,
    check_size,
    check_url,
    in_origin_form,
    is_upload,
    is_without_version,
    no_connection_left,
    reason_of,
    refusal,
    stalled_head,
    without_upgrade,
)
from ci_server.connections.tracker import ConnectionTracker, tracker_of
from ci_server.http.refusals import InvalidHttp

_END = b"\r\n\r\n"
"""The end of headers, and of chunked bodies. What follows is not parsed before it is known what has ended."""
_ENDS = (b"\r\n\r", b"\r\n", b"\r")
"""What may become such an end."""
_NO_PIPELINE: deque[Any] = deque(maxlen=0)
"""Requests that uvicorn would queue are held as bytes here. A queue for each of thousands of readers costs memory."""

logger = logging.getLogger("ci_server.connections")


class Stage(enum.Enum):
    """How far the present request is."""

    HEAD = enum.auto()
    BODY = enum.auto()
    WHOLE = enum.auto()
    """It has arrived completely, and is not answered yet."""
    REFUSED = enum.auto()
    """It was answered here. What still arrives is discarded, so that the client can read the answer."""


class _Flow(FlowControl):
    """Pauses reading while bytes are held that are not parsed yet."""

    holds = False

    def resume_reading(self) -> None:
        if not self.holds:
            super().resume_reading()


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    # uvicorn keeps its own attributes in a dict, whose keys the objects of a class share only while there are few.
    __slots__ = ("_body_left", "_half_closed", "_head_bytes", "_held", "_stage", "_tracker")

    flow: _Flow

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pipeline = _NO_PIPELINE
        self._tracker: ConnectionTracker = tracker_of(self.server_state)
        self.url = b""
        self._stage = Stage.HEAD
        self._head_bytes = 0
        """How much of the present request's head has been parsed."""
        self._body_left = 0
        """How much of its body is still to arrive; less than 0 where that is not known."""
        self._held = b""
        """What has arrived and is not parsed yet."""
        self._half_closed = False
        """Whether the client has closed its sending side."""

    # Called by the event loop

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Transport, transport))
        self.flow = _Flow(self.transport)
        if not self._tracker.admit(self):
            self._refuse(no_connection_left(), lingers=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tracker.expect_nothing(self)
        self._held = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._stage is Stage.REFUSED:
            return
        self._held = self._held + data if self._held else data
        if self._stage is Stage.HEAD:
            self._tracker.on_data(self)
        self._advance()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether the connection stays open for an answer to a request that is complete."""
        if self._stage is not Stage.WHOLE:
            return False
        cycle = self.cycle
        if cycle.response_started and cycle.chunked_encoding:
            return False  # An answer without a length may be a stream, whose reader has gone.
        if is_upload(self.headers):
            return False  # So that no work is done for a client that is gone.
        self._half_closed = True
        if not self._held:
            cycle.keep_alive = False
        return True

    # Called by the tracker

    def on_timeout(self) -> None:
        if self._stage is Stage.HEAD and (self._head_bytes or self._held):
            self._refuse(stalled_head(), lingers=False)
        elif self._stage is Stage.REFUSED:
            self.transport.abort()
        else:
            self.transport.close()

    def evict(self) -> None:
        self.transport.abort()

    # Parsing

    def _advance(self) -> None:
        """Parse the held bytes, up to the end of the present request."""
        if self.parser is None or self.transport.is_closing():
            self._held = b""
            return
        if self._stage is Stage.HEAD and self._head_bytes == 0 and is_without_version(self._held):
            self._refuse(InvalidHttp("the request names no version of HTTP, as in GET / HTTP/1.1"))
        held, done, effort = memoryview(self._held), 0, 0
        while done < len(held) and self._stage in (Stage.HEAD, Stage.BODY):
            end = self._end_of_piece(done)
            if end == done:
                break
            self._parse(held[done:end])
            effort += end - done + PIECE_EFFORT
            done = end
            if self._body_left < 0 and effort >= TURN_EFFORT:
                self.loop.call_soon(self._advance)
                break
        self._held = b"" if self._stage is Stage.REFUSED else self._held[done:]
        self._hold(len(self._held) >= len(_END))

    def _hold(self, holds: bool) -> None:
        if holds:
            self.flow.holds = True
            self.flow.pause_reading()
        elif self.flow.holds:
            self.flow.holds = False
            if self._stage is not Stage.BODY or len(self.cycle.body) <= HIGH_WATER_LIMIT:
                self.flow.resume_reading()

    def _end_of_piece(self, begin: int) -> int:
        """Return the end of the held bytes that certainly belong to one request."""
        if self._stage is Stage.BODY and self._body_left >= 0:
            end = min(len(self._held), begin + self._body_left)
            self._body_left -= end - begin
            return end
        most = PIECE_BYTES if self._stage is Stage.BODY else HEAD_BYTES - self._head_bytes
        found = self._held.find(_END, begin, begin + most)
        if found >= 0:
            return found + len(_END)
        end = min(len(self._held), begin + most)
        if end < begin + most:
            for start_of_end in _ENDS:
                if self._held.endswith(start_of_end, begin):
                    return end - len(start_of_end)
        return end

    def _parse(self, piece: memoryview) -> None:
        is_head = self._stage is Stage.HEAD
        if is_head:
            self._head_bytes += len(piece)
        try:
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                self._parse_without_upgrade()
            if self._stage is Stage.HEAD and self._head_bytes > URL_BYTES:
                check_url(self.url)
                check_size(self._head_bytes)
        except RequestError as exc:
            self._refuse(exc)
        except httptools.HttpParserError as exc:
            self._refuse(reason_of(exc))

    def _parse_without_upgrade(self) -> None:
        """Continue with a request that asks for another protocol, which a server may ignore (RFC 9110, 7.8)."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            raise InvalidHttp("this server is no proxy, so it takes no CONNECT")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(without_upgrade(method, self.url, version, self.headers))

    # Called by the parser

    def on_message_begin(self) -> None:
        if self._stage is not Stage.HEAD:
            raise InvalidHttp("the request is longer than it says")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # The callbacks come again, without the upgrade.
        check_url(self.url)
        check_headers(self.headers, self._head_bytes)
        if not self.url.startswith(b"/"):
            self.url, self.headers = in_origin_form(self.url, self.headers)
            self.scope["headers"] = self.headers
        super().on_headers_complete()
        self._tracker.expect_nothing(self)
        self._stage = Stage.BODY
        self._body_left = body_length(self.headers)

    def on_message_complete(self) -> None:
        if self._stage is not Stage.BODY:
            return  # It ends a request that asked for another protocol.
        super().on_message_complete()
        self._stage = Stage.WHOLE
        if self.cycle.response_complete:
            self._begin_next()

    # Called by the response

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._stage is Stage.WHOLE:
            self._begin_next()
            if self._held:
                self._advance()
            if self._half_closed and self._stage is not Stage.WHOLE:
                self.transport.close()
        else:
            self._tracker.expect_head(self)  # The rest of the body, which is not used any more.

    def _begin_next(self) -> None:
        self._stage = Stage.HEAD
        self._head_bytes = 0
        if self._held:
            self._tracker.expect_head(self)
        else:
            self._tracker.expect_request(self)

    def shutdown(self) -> None:
        if self._stage is Stage.REFUSED:
            self.transport.close()
        else:
            super().shutdown()

    # Refusing

    def _refuse(self, error: RequestError, *, lingers: bool = True) -> None:
        """Answer instead of the application, and end the connection once the client has had time to read that."""
        answered = self._stage in (Stage.BODY, Stage.WHOLE) and not self.cycle.response_complete
        self._stage = Stage.REFUSED
        logger.info("a request is refused: %d %s", error.status, error)
        if answered:
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False  # The application may ask for the body after this answer.
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        self.transport.write(refusal(error, self.server_state.default_headers))
        if lingers and self._end_answers():
            self._tracker.expect_head(self)
            self.flow.holds = False
            self.flow.resume_reading()
        else:
            self.transport.close()

    def _end_answers(self) -> bool:
        """Close the sending side; return whether the client may still be there to read the answer."""
        try:
            self.transport.write_eof()
        except OSError:  # It has reset the connection.
            return False
        return True
