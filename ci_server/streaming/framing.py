"""Server-sent events as bytes, and a chunk of a log with its steps as events in their order."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sse_starlette.event import ServerSentEvent

from ci_common.jobs import StepResult, StepStatus
from ci_common.run_directory.output import Piece, cut_piece
from ci_common.stream import LOG, STEP, Cursor
from ci_common.times import to_rfc3339
from ci_server.streaming.json_escape import json_text

PING = ServerSentEvent(comment="ping", sep="\n").encode()


def frame(event: Mapping[str, Any], cursor: Cursor | None = None) -> bytes:
    """Return one event; `cursor`, the place behind it, becomes its `id:`."""
    data = json.dumps(event, separators=(",", ":"))
    return ServerSentEvent(data, id=None if cursor is None else str(cursor), sep="\n").encode()


@dataclass(frozen=True, slots=True)
class StepEvent:
    """A change of a step, at a place in the log; `offset` is None where that is the end of what has been written."""

    offset: int | None
    name: str
    status: StepStatus
    exit_code: int | None

    def framed(self) -> bytes:
        return frame({"type": STEP, "name": self.name, "status": self.status, "exit_code": self.exit_code})


def step_events(steps: tuple[StepResult, ...]) -> list[StepEvent]:
    """Return the beginnings and ends of steps in their order; a step ends where the next one begins."""
    events: list[StepEvent] = []
    offset = 0
    for number, step in enumerate(steps):
        offset = max(offset, step.log_offset)
        events.append(StepEvent(offset, step.name, StepStatus.RUNNING, None))
        if step.status is not StepStatus.RUNNING:
            following = steps[number + 1].log_offset if number + 1 < len(steps) else None
            end = None if following is None else max(offset, following)
            events.append(StepEvent(end, step.name, step.status, step.exit_code))
    return events


class LogFramer:
    """Turns consecutive chunks of one attempt's log into events.

    `position` is the offset behind what has been shown.
    """

    def __init__(self, position: int, *, attempt: int = 1, shown: int | None = None) -> None:
        """`shown`: how many of the steps' events have been; None: those that lie before `position`."""
        self.position = position
        self._attempt = attempt
        self._steps: list[StepEvent] = []
        self._shown = shown

    def take_steps(self, events: list[StepEvent]) -> None:
        """Use `events` from now on, all of the job's so far. Fewer than before are passed over.

        They come from a run directory that has been cleared already, seen with a row from before the job's end.
        """
        if len(events) < len(self._steps):
            return
        if self._shown is None and events:
            passed = (event.offset is not None and event.offset < self.position for event in events)
            self._shown = next((number for number, past in enumerate(passed) if not past), len(events))
        self._steps = events

    @property
    def shown(self) -> int | None:
        """How many of the steps' events have been shown or passed over; None before there are any."""
        return self._shown

    def frames(self, data: bytes, time: datetime, *, final: bool) -> Iterator[bytes]:
        """Yield events for `data`, which lies at `position`; what cannot be shown yet is left."""
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
        """Yield the events that lie at the end of all that has been written, or the first `until` of all."""
        while (self._shown or 0) < (len(self._steps) if until is None else until):
            yield self._next_step()

    def _next_offset(self) -> int | None:
        shown = self._shown or 0
        return self._steps[shown].offset if shown < len(self._steps) else None

    def _next_step(self) -> bytes:
        self._shown = (self._shown or 0) + 1
        return self._steps[self._shown - 1].framed()

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
