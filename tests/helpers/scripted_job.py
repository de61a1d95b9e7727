"""A job of a scripted server: all that is told of it, and where its connections break off."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from ci_common.jobs import new_job_id
from ci_common.run_directory.output import cut_piece
from ci_common.wire.stream import Cursor


@dataclass
class ScriptedJob:
    """A job that has run already, told as a stream."""

    log: bytes = b""
    job_id: str = field(default_factory=new_job_id)
    chunk: int = 1000
    """Bytes of the log per event."""
    steps: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """(offset in the log, step event)"""
    statuses: list[dict[str, Any]] = field(default_factory=list)
    conclusion: str = "succeeded"
    exit_code: int | None = 0
    reason: dict[str, str] | None = None
    runtime: str = "docker"
    start_way: str | None = None
    image: str | None = None
    project: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    cuts: list[tuple[int, bool]] = field(default_factory=list)
    """For each connection in turn: after how many bytes of the body it ends, and whether in good order."""
    hold_at: int | None = None
    """The stream stays open and quiet at this offset of the log until `release` or a cancel; 0: after one status."""
    final_204: bool = True
    sha256: str | None = None
    """A digest to claim instead of the true one."""
    earlier: list[bytes] = field(default_factory=list)
    """The logs of the attempts before, which all failed with exit code 9."""
    earlier_sha256: str | None = None
    """A digest to claim for those instead of the true one."""
    seen_ids: list[str | None] = field(default_factory=list)
    """The Last-Event-ID of each connection so far."""
    released: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)
    cancels: int = 0

    def release(self) -> None:
        """Let the stream go on behind `hold_at`."""
        self.released.set()

    @property
    def completed(self) -> bool:
        return self.hold_at is None or self.released.is_set()

    def on_wire(self) -> dict[str, Any]:
        done = self.completed
        return {
            "job_id": self.job_id,
            "type": "container",
            "status": "completed" if done else "running",
            "conclusion": self.conclusion if done else None,
            "success": self.conclusion == "succeeded" if done else None,
            "reason": self.reason,
            "submit_time": "2025-01-31T09:30:00.000000Z",
            "start_time": "2025-01-31T09:30:01.000000Z",
            "end_time": "2025-01-31T09:30:03.500000Z" if done else None,
            "exit_code": self.exit_code if done else None,
            "attempt": self.attempt,
            "max_attempts": max(self.attempt, 3 if self.earlier else 1),
            "attempts": [self._ended(number) for number in range(1, self.attempt)],
            "not_before": None,
            "project": self.project,
            "labels": self.labels,
            "payload": {"image": "python:3.12-slim"},
            "steps": self._ended_steps(),
            "log_bytes": len(self.log) if done else self.hold_at,
            "log_sha256": (self.sha256 or sha256(self.log).hexdigest()) if done else None,
            "runtime": self.runtime,
            "start_way": self.start_way,
            "image": self.image,
        }

    @property
    def attempt(self) -> int:
        return len(self.earlier) + 1

    def _ended_steps(self) -> list[dict[str, Any]]:
        begins = {step["name"]: offset for offset, step in self.steps if step["status"] == "running"}
        return [
            {"log_offset": begins.get(step["name"], offset), **step}
            for offset, step in self.steps
            if step["status"] != "running"
        ]

    def _ended(self, number: int) -> dict[str, Any]:
        log = self.earlier[number - 1]
        return {
            "attempt": number,
            "conclusion": "failed",
            "reason": {"code": "exit_code", "message": "the job's command ended with exit code 9"},
            "exit_code": 9,
            "start_time": "2025-01-31T09:29:01.000000Z",
            "end_time": "2025-01-31T09:29:03.000000Z",
            "runtime": self.runtime,
            "log_bytes": len(log),
            "log_sha256": self.earlier_sha256 or sha256(log).hexdigest(),
            "steps": [],
        }

    def all_frames(self, start: Cursor) -> Iterator[tuple[int, bytes]]:
        """Yield what `frames` does, for all attempts from a place on; offsets are those in the log of each."""
        for number in range(start.attempt, self.attempt + 1):
            if number > start.attempt:
                event = {"type": "attempt", "attempt": number, "max_attempts": 3, "previous": self._ended(number - 1)}
                yield 0, framed(event, Cursor(number, 0))
            offset = start.offset if number == start.attempt else 0
            if number == self.attempt:
                yield from self.frames(offset)
            else:
                past = replace(self, log=self.earlier[number - 1], earlier=self.earlier[: number - 1], steps=[])
                yield from ((position, told) for position, told in past.frames(offset) if b'"log"' in told)

    def frames(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield (offset in the log, bytes of the body) of the last attempt, from an offset on."""
        for status in self.statuses or [{"status": "queued", "reason": None}, {"status": "running", "reason": None}]:
            yield offset, framed({"type": "status", **status})
        steps = [step for step in self.steps if step[0] >= offset]
        position = offset
        while position < len(self.log):
            while steps and steps[0][0] <= position:
                yield position, framed({"type": "step", **steps.pop(0)[1]})
            end = min(position + self.chunk, steps[0][0] if steps else len(self.log))
            piece = cut_piece(self.log[position:end], final=end >= len(self.log))
            assert piece is not None, "a chunk holds at least one whole character"
            position += piece.size
            event = {"type": "log", "data": piece.text, "time": "2025-01-31T09:30:02Z"}
            yield (
                position,
                framed(event | ({"base64": piece.exact} if piece.exact else {}), Cursor(self.attempt, position)),
            )
        for _, step in steps:
            yield position, framed({"type": "step", **step})
        job = self.on_wire()
        keys = ("success", "conclusion", "reason", "exit_code", "log_bytes", "log_sha256")
        yield position, framed({"type": "complete", **{key: job[key] for key in keys}}, Cursor(self.attempt, position))


def framed(event: dict[str, Any], identifier: object = None) -> bytes:
    head = b"" if identifier is None else f"id: {identifier}\n".encode()
    return head + b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"
