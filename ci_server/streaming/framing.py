"""Server-sent events as bytes, and sending them to one connection.

`LogFramer` turns a chunk of a log and its steps into events in their order.
"""

import asyncio
import json
from collections.abc import Awaitable, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import coroutine
from typing import Any

from sse_starlette.event import ServerSentEvent
from starlette.types import Message, Send

from ci_common.attempts.parts import StepResult, StepStatus
from ci_common.run_directory.output import Piece, cut_piece
from ci_common.times import to_rfc3339
from ci_common.wire.stream import LOG, STEP, Cursor

PING = ServerSentEvent(comment="ping", sep="\n").encode()


def frame(event: Mapping[str, Any], cursor: Cursor | None = None) -> bytes:
    """Return one event; `cursor`, the position behind it, becomes its `id:`."""
    data = json.dumps(event, separators=(",", ":"))
    return ServerSentEvent(data, id=None if cursor is None else str(cursor), sep="\n").encode()


@dataclass(frozen=True, slots=True)
class StepEvent:
    """A step that begins or ends at an offset in the log; None stands for the end of what has been written."""

    offset: int | None
    name: str
    status: StepStatus
    exit_code: int | None
    reason: str | None = None

    def framed(self) -> bytes:
        said = {} if self.reason is None else {"reason": self.reason}
        return frame({"type": STEP, "name": self.name, "status": self.status, "exit_code": self.exit_code, **said})


def step_events(steps: tuple[StepResult, ...]) -> list[StepEvent]:
    """Return the beginnings and ends of steps in their order; a step ends where the next one begins."""
    events: list[StepEvent] = []
    offset = 0
    for number, step in enumerate(steps):
        offset = max(offset, step.log_offset)
        if step.status is StepStatus.SKIPPED:
            events.append(StepEvent(offset, step.name, step.status, None, step.reason))
            continue
        events.append(StepEvent(offset, step.name, StepStatus.RUNNING, None))
        if step.status is not StepStatus.RUNNING:
            following = steps[number + 1].log_offset if number + 1 < len(steps) else None
            end = None if following is None else max(offset, following)
            events.append(StepEvent(end, step.name, step.status, step.exit_code, step.reason))
    return events


class LogFramer:
    """Turns consecutive chunks of one attempt's log into events. `position` is the offset behind the last one."""

    def __init__(self, position: int, *, attempt: int = 1, steps_sent: int | None = None) -> None:
        """`steps_sent`: how many of the steps' events were sent; None: those that lie before `position`."""
        self.position = position
        self.steps_sent = steps_sent
        """How many of the steps' events were sent or lie before the first position; None while there are none."""
        self._attempt = attempt
        self._steps: list[StepEvent] = []

    def take_steps(self, events: list[StepEvent]) -> None:
        """Use `events`, all of the attempt's so far, from now on. Fewer events than before are ignored.

        They are read from a run directory that has been cleaned already, with a row from before the attempt's end.
        """
        if len(events) < len(self._steps):
            return
        if self.steps_sent is None and events:
            is_past = (event.offset is not None and event.offset < self.position for event in events)
            self.steps_sent = next((number for number, past in enumerate(is_past) if not past), len(events))
        self._steps = events

    def frames(self, data: bytes, time: datetime, *, final: bool) -> Iterator[bytes]:
        """Yield events for `data`, which lies at `position`; a character that is not complete yet is left."""
        while True:
            until = self._next_offset()
            if until is not None and until <= self.position:
                yield self._next_step()
                continue
            segment = data if until is None else data[: until - self.position]
            piece = cut_piece(segment, final=final and len(segment) == len(data))
            if piece is not None:
                self.position += piece.size
                data = data[piece.size :]
                yield self._framed(piece, segment[: piece.size], time)
            elif len(segment) < len(data):
                yield self._next_step()  # It begins in the middle of a character.
            else:
                return

    def remaining_steps(self, until: int | None = None) -> Iterator[bytes]:
        """Yield the remaining events, which lie at the end of what has been written, or the first `until` of all."""
        while (self.steps_sent or 0) < (len(self._steps) if until is None else until):
            yield self._next_step()

    def _next_offset(self) -> int | None:
        sent = self.steps_sent or 0
        return self._steps[sent].offset if sent < len(self._steps) else None

    def _next_step(self) -> bytes:
        self.steps_sent = (self.steps_sent or 0) + 1
        return self._steps[self.steps_sent - 1].framed()

    def _framed(self, piece: Piece, data: bytes, time: datetime) -> bytes:
        cursor, instant = Cursor(self._attempt, self.position), to_rfc3339(time)
        if piece.exact is not None:
            return frame({"type": LOG, "data": piece.text, "time": instant, "base64": piece.exact}, cursor)
        return b'id: %s\ndata: {"type":"%s","data":"%s","time":"%s"}\n\n' % (
            str(cursor).encode("ascii"),
            LOG.encode("ascii"),
            json_text(data),
            instant.encode("ascii"),
        )


# Escaping by searches that run at the speed of memory: a log event carries up to 64 KiB.

_LINE_ENDS = ("\x85", "\u2028", "\u2029")
"""Characters that JSON does not escape, and that some readers of lines take for the end of one."""
_FEW = 4
"""Replacing costs by the replaced character, the encoder by the byte: it is faster where one in so many is replaced."""
_SAMPLE = 1024
"""How many bytes are looked at to choose between the two."""
_SHORT = 256
"""Up to so many bytes, the encoder is faster than searching for all characters."""


def _escape_of(character: str) -> tuple[bytes, bytes]:
    return character.encode(), json.dumps(character)[1:-1].encode("ascii")


_ASCII_ESCAPES = tuple(map(_escape_of, ["\\", '"', *map(chr, range(0x20))]))
"""The backslash is first: the escapes of all others contain one."""
_OTHER_ESCAPES = tuple(map(_escape_of, _LINE_ENDS))


def json_text(data: bytes) -> bytes:
    """Return valid UTF-8 as it stands between the quotes of a JSON string, on one line for every reader of lines."""
    if len(data) <= _SHORT or data.count(b"\n", 0, _SAMPLE) * _FEW > min(len(data), _SAMPLE):
        return json.dumps(data.decode())[1:-1].encode("ascii")
    for raw, escaped in _ASCII_ESCAPES if data.isascii() else _ASCII_ESCAPES + _OTHER_ESCAPES:
        if raw in data:
            data = data.replace(raw, escaped)
    return data


FLUSH: Message = {"type": "http.response.body", "body": b"", "more_body": True}
"""Sends nothing; sending it takes until the connection has room for more."""
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


def body(frames: bytes, *, more: bool = True) -> Message:
    """Return the message that sends these bytes."""
    return {"type": "http.response.body", "body": frames, "more_body": more}


class Reader:
    """The sending side of one connection. There may be thousands, so a waiting one holds next to nothing."""

    __slots__ = ("_request", "abandoned", "send", "task")

    def __init__(self, send: Send) -> None:
        self.send = send
        self.task: asyncio.Task[None] | None = None
        """The task that sends to it at present, where that could not be done at once."""
        self.abandoned = False
        self._request = asyncio.current_task()

    def abandon(self) -> None:
        """Cancel its request, and with it the connection."""
        self.abandoned = True
        if self._request is not None:
            self._request.cancel()


def send_nowait(sending: Awaitable[None]) -> Awaitable[None] | None:
    """Run a call of `send` up to its first wait; return the rest of it, or None where it has finished.

    A rest has to be awaited, by any task. So sending to a connection that has room needs no task.
    """
    steps = sending.__await__()
    try:
        waited_for = next(steps)
    except StopIteration:
        return None
    return _rest(waited_for, steps)


@coroutine
def _rest(waited_for: Any, steps: Generator[Any, Any, None]) -> Generator[Any, Any, None]:
    # The task that runs this gets the future that stopped the call, as if it had begun the call, and its cancellation
    # goes to the call.
    try:
        yield waited_for
    except BaseException as error:
        try:
            waited_for = steps.throw(error)
        except StopIteration:
            return
        yield waited_for
    yield from steps
