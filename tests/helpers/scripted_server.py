"""A server that speaks the contract and breaks off where a test says, for tests of the client.

It runs on uvicorn in a thread, so that tests may block, use an event loop, or start the command line as a process.
"""

import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ci_common.wire.stream import Cursor
from ci_selftest.faults.held_ports import held_port
from tests.helpers.scripted_job import ScriptedJob, framed
from tests.helpers.waiting import PATIENCE


def wait_until(condition: Callable[[], Any], *, seconds: float = PATIENCE) -> Any:
    """Return the condition's first true value. Fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not so within {seconds} s: {condition}"
        time.sleep(0.005)
    return value


class Cut(Exception):
    """Breaks a connection in the middle of an answer."""


class ScriptedServer:
    """The server and its jobs. `start` and `stop` may be called again: the server keeps its port."""

    def __init__(self, port: int) -> None:
        self.jobs: dict[str, ScriptedJob] = {}
        self.uploads: list[bytes] = []
        self.specs: list[Any] = []
        self.keys: list[str | None] = []
        """The `Idempotency-Key` of each submission."""
        self.refusals: list[tuple[int, dict[str, Any], dict[str, str]]] = []
        """What the next submissions are answered with: status, problem and headers."""
        self.break_submissions = False
        self.next_job = ScriptedJob()
        self._port = port
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
            Route("/submit-stream", self._submit_and_stream, methods=["POST"]),
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
        self.keys.append(request.headers.get("Idempotency-Key"))
        if self.break_submissions:
            await request.body()
            return StreamingResponse(_limited(_one(b'{"job_id": "'), (5, False)), 202)
        async with request.form() as form:
            self.uploads.append(await form["file"].read())  # type: ignore[union-attr]
            self.specs.append(json.loads(form["spec"]) if "spec" in form else None)  # type: ignore[arg-type]
        return await self._accept(request)

    async def _submit_and_stream(self, request: Request) -> Response:
        answer = await self._submit(request)
        if answer.status_code != 202 or isinstance(answer, StreamingResponse):
            return answer
        job = self.jobs[json.loads(bytes(answer.body))["job_id"]]
        job.seen_ids.append(None)
        cut = job.cuts.pop(0) if job.cuts else None
        body = _limited(_led(framed({"type": "job_id", "job_id": job.job_id}), _held(job, Cursor(1, 0))), cut)
        return StreamingResponse(body, media_type="text/event-stream")

    async def _create(self, request: Request) -> Response:
        self.keys.append(request.headers.get("Idempotency-Key"))
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
        log = job.log
        if "attempt" in request.query_params:
            log = [*job.earlier, job.log][int(request.query_params["attempt"]) - 1]
        if "range" not in request.headers:
            return Response(log)
        first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
        if int(first) >= len(log):
            return Response(status_code=416)
        return Response(log[int(first) : int(last) + 1 if last else None], 206)

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


async def _led(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for frame in rest:
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
    with held_port() as port:
        server = ScriptedServer(port)
        server.start()
        try:
            yield server
        finally:
            for job in server.jobs.values():
                job.release()
            server.stop()
