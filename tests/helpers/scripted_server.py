"""A server that speaks the contract and breaks off where a test says, for tests of the client.

It runs on uvicorn in a thread, so that tests may block, use an event loop, or start the command line as a process.
"""

import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ci_common.cursors import Cursor
from ci_common.ids import new_job_id
from ci_common.logs import cut_piece


def wait_until(condition: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """Return the condition's first true value. Fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not so within {seconds} s: {condition}"
        time.sleep(0.005)
    return value


class Cut(Exception):
    """Breaks a connection in the middle of an answer."""


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
            "project": None,
            "labels": {},
            "payload": {"image": "python:3.12-slim"},
            "steps": [step for _, step in self.steps if step["status"] != "running"],
            "log_bytes": len(self.log) if done else self.hold_at,
            "log_sha256": (self.sha256 or sha256(self.log).hexdigest()) if done else None,
            "runtime": self.runtime,
        }

    @property
    def attempt(self) -> int:
        return len(self.earlier) + 1

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
                yield 0, _frame(event, Cursor(number, 0))
            offset = start.offset if number == start.attempt else 0
            if number == self.attempt:
                yield from self.frames(offset)
            else:
                past = replace(self, log=self.earlier[number - 1], earlier=self.earlier[: number - 1], steps=[])
                yield from ((position, told) for position, told in past.frames(offset) if b'"log"' in told)

    def frames(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield (offset in the log, bytes of the body) of the last attempt, from an offset on."""
        for status in self.statuses or [{"status": "queued", "reason": None}, {"status": "running", "reason": None}]:
            yield offset, _frame({"type": "status", **status})
        steps = [step for step in self.steps if step[0] >= offset]
        position = offset
        while position < len(self.log):
            while steps and steps[0][0] <= position:
                yield position, _frame({"type": "step", **steps.pop(0)[1]})
            end = min(position + self.chunk, steps[0][0] if steps else len(self.log))
            piece = cut_piece(self.log[position:end], final=end >= len(self.log))
            assert piece is not None, "a chunk holds at least one whole character"
            position += piece.size
            event = {"type": "log", "data": piece.text, "time": "2025-01-31T09:30:02Z"}
            yield (
                position,
                _frame(event | ({"base64": piece.exact} if piece.exact else {}), Cursor(self.attempt, position)),
            )
        for _, step in steps:
            yield position, _frame({"type": "step", **step})
        job = self.on_wire()
        keys = ("success", "conclusion", "reason", "exit_code", "log_bytes", "log_sha256")
        yield position, _frame({"type": "complete", **{key: job[key] for key in keys}}, Cursor(self.attempt, position))


def _frame(event: dict[str, Any], identifier: object = None) -> bytes:
    head = b"" if identifier is None else f"id: {identifier}\n".encode()
    return head + b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


class ScriptedServer:
    """The server and its jobs. `start` and `stop` may be called again: it keeps its port."""

    def __init__(self) -> None:
        self.jobs: dict[str, ScriptedJob] = {}
        self.uploads: list[bytes] = []
        self.specs: list[Any] = []
        self.refusals: list[tuple[int, dict[str, Any], dict[str, str]]] = []
        """What the next submissions are answered with: status, problem and headers."""
        self.break_submissions = False
        self.next_job = ScriptedJob()
        self._port = 0
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def add(self, job: ScriptedJob) -> ScriptedJob:
        self.jobs[job.job_id] = job
        return job

    def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(self._app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
        self._server = server = uvicorn.Server(config)
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        wait_until(lambda: server.started)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(10)
            assert not self._thread.is_alive()

    def _app(self) -> Starlette:
        routes = [
            Route("/health", lambda request: JSONResponse({"status": "ok"})),
            Route("/submit-async", self._submit, methods=["POST"]),
            Route("/jobs", self._create, methods=["POST"]),
            Route("/jobs", self._list),
            Route("/jobs/{job_id}", self._get),
            Route("/jobs/{job_id}/stream", self._stream),
            Route("/jobs/{job_id}/log", self._log),
            Route("/jobs/{job_id}/cancel", self._cancel, methods=["POST"]),
            Route("/jobs/{job_id}/retry", self._accept, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _submit(self, request: Request) -> Response:
        if self.break_submissions:
            await request.body()
            return StreamingResponse(_limited(_one(b'{"job_id": "'), (5, False)), 202)
        async with request.form() as form:
            self.uploads.append(await form["file"].read())  # type: ignore[union-attr]
            self.specs.append(json.loads(form["spec"]) if "spec" in form else None)  # type: ignore[arg-type]
        return await self._accept(request)

    async def _create(self, request: Request) -> Response:
        self.specs.append(await request.json())
        return await self._accept(request)

    async def _accept(self, request: Request) -> Response:
        if self.refusals:
            status, problem, headers = self.refusals.pop(0)
            return JSONResponse(problem, status, headers, "application/problem+json")
        job = self.add(self.next_job)
        return JSONResponse({"job_id": job.job_id}, 202)

    async def _list(self, request: Request) -> Response:
        text = request.query_params.get("q", "")
        jobs = sorted((job for job in self.jobs.values() if text in job.job_id), key=lambda j: j.job_id, reverse=True)
        older = [job for job in jobs if job.job_id < request.query_params.get("cursor", "~")]
        page = older[: int(request.query_params["limit"])]
        headers = {}
        if len(older) > len(page):
            query = request.url.include_query_params(cursor=page[-1].job_id).query
            headers["Link"] = f'</jobs?{query}>; rel="next"'
        return JSONResponse([job.on_wire() for job in page], headers=headers)

    def _job(self, request: Request) -> ScriptedJob | None:
        return self.jobs.get(request.path_params["job_id"])

    async def _get(self, request: Request) -> Response:
        job = self._job(request)
        return _not_found() if job is None else JSONResponse(job.on_wire())

    async def _log(self, request: Request) -> Response:
        job = self._job(request)
        if job is None:
            return _not_found()
        if "attempt" in request.query_params:
            return Response([*job.earlier, job.log][int(request.query_params["attempt"]) - 1])
        if "range" not in request.headers:
            return Response(job.log)
        first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
        if int(first) >= len(job.log):
            return Response(status_code=416)
        return Response(job.log[int(first) : int(last) + 1 if last else None], 206)

    async def _cancel(self, request: Request) -> Response:
        job = self._job(request)
        if job is None:
            return _not_found()
        job.cancels += 1
        job.conclusion, job.exit_code = "cancelled", None
        job.release()
        return JSONResponse(job.on_wire(), 202)

    async def _stream(self, request: Request) -> Response:
        job = self._job(request)
        if job is None:
            return _not_found()
        last_id = request.headers.get("Last-Event-ID")
        job.seen_ids.append(last_id)
        start = Cursor.parse(last_id or "0")
        if job.final_204 and job.completed and last_id is not None and start == Cursor(job.attempt, len(job.log)):
            return Response(status_code=204)
        cut = job.cuts.pop(0) if job.cuts else None
        return StreamingResponse(_limited(_held(job, start), cut), media_type="text/event-stream")


async def _held(job: ScriptedJob, start: Cursor) -> AsyncIterator[bytes]:
    waited = job.hold_at is None
    for position, frame in job.all_frames(start):
        yield frame
        here = job.hold_at == 0 or b'"log"' in frame
        if not waited and here and job.hold_at is not None and position >= job.hold_at:
            waited = True
            job.held.set()
            while not job.released.is_set():
                await anyio.sleep(0.005)
            if job.conclusion == "cancelled":
                break
    else:
        return
    *_, last = job.frames(len(job.log))
    job.log = job.log[:position]
    *_, last = job.frames(len(job.log))
    yield last[1]


async def _one(frame: bytes) -> AsyncIterator[bytes]:
    yield frame


async def _limited(body: AsyncIterator[bytes], cut: tuple[int, bool] | None) -> AsyncIterator[bytes]:
    left = None if cut is None else cut[0]
    async for frame in body:
        if left is not None and len(frame) >= left:
            yield frame[:left]
            if cut is not None and not cut[1]:
                raise Cut
            return
        left = None if left is None else left - len(frame)
        yield frame


def _not_found() -> Response:
    problem = {"title": "No such job", "detail": "no job has this id", "status": 404, "code": "job_not_found"}
    return JSONResponse(problem, 404, media_type="application/problem+json")


@contextmanager
def running_server() -> Iterator[ScriptedServer]:
    """A server that runs until the block is left."""
    server = ScriptedServer()
    server.start()
    try:
        yield server
    finally:
        for job in server.jobs.values():
            job.release()
        server.stop()
