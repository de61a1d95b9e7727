"""The client for programs without an event loop: a thin wrapper around `ci_client.aio`.

    for event in submit_tests_streaming(Path.cwd(), server_url="http://localhost:8000"):
        if event["type"] == "log":
            print(event["data"], end="")
        elif event["type"] == "complete":
            sys.exit(0 if event["success"] else 1)

Errors are those of `ci_client.errors`.
"""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ci_client.aio import CiClient
from ci_client.submitting.submission import UploadProgress
from ci_common.wire.stream import Event

if TYPE_CHECKING:
    from ci_client.downloading.download import Saved

T = TypeVar("T")
ProjectPath = str | os.PathLike[str]


def submit_tests_streaming(
    path: ProjectPath,
    server_url: str | None = None,
    *,
    spec: Mapping[str, Any] | None = None,
    progress: UploadProgress | None = None,
    reconnect_seconds: float = 300.0,
) -> Generator[Event, None, None]:
    """Submit a directory or a zip file and yield the job's events, from `job_id` to `complete`.

    Closing the generator early closes the connection; the job goes on. See `CiClient.submit_and_stream`.
    """
    return _iterated(
        lambda client: client.submit_and_stream(path, spec=spec, progress=progress), server_url, reconnect_seconds
    )


def stream_job(
    job_id: str, server_url: str | None = None, *, from_beginning: bool = True, reconnect_seconds: float = 300.0
) -> Generator[Event, None, None]:
    """Yield a job's events up to and including `complete`. See `CiClient.stream`."""
    return _iterated(lambda client: client.stream(job_id, from_beginning=from_beginning), server_url, reconnect_seconds)


def submit_tests_async(
    path: ProjectPath, server_url: str | None = None, *, spec: Mapping[str, Any] | None = None
) -> str:
    """Submit a directory or a zip file and return the job's id at once. See `CiClient.submit`."""
    return _called(lambda client: client.submit(path, spec=spec), server_url)


def get_job(job_id: str, server_url: str | None = None) -> dict[str, Any]:
    """Return the job in the form that docs/http.md shows."""
    return _called(lambda client: client.get_job(job_id), server_url)


def artifacts(job_id: str, server_url: str | None = None) -> dict[str, Any]:
    """Return a job's artifacts. See `CiClient.artifacts`."""
    return _called(lambda client: client.artifacts(job_id), server_url)


def download(
    job_id: str,
    output: ProjectPath,
    server_url: str | None = None,
    *,
    patterns: Sequence[str] = (),
    replace: bool = False,
) -> "list[Saved]":
    """Save a job's artifacts below a directory, and return them. See `CiClient.download`."""
    return _called(lambda client: client.download(job_id, Path(output), patterns=patterns, replace=replace), server_url)


def list_jobs(server_url: str | None = None, *, limit: int = 50, **filters: str) -> list[dict[str, Any]]:
    """Return at most `limit` jobs, newest first. See `CiClient.list_jobs`."""
    return _called(lambda client: client.list_jobs(limit=limit, **filters), server_url)


def job_tests(
    job_id: str, server_url: str | None = None, *, limit: int | None = None, **filters: str
) -> list[dict[str, Any]]:
    """Return the tests of a job that has ended. See `CiClient.tests`."""
    return _called(lambda client: client.tests(job_id, limit=limit, **filters), server_url)


def cancel_job(job_id: str, server_url: str | None = None) -> dict[str, Any]:
    """Request a job's cancellation, and return the job. See `CiClient.cancel_job`."""
    return _called(lambda client: client.cancel_job(job_id), server_url)


def delete_job(job_id: str, server_url: str | None = None) -> dict[str, Any] | None:
    """Delete a completed job; a job that has not completed is cancelled and returned. See `CiClient.delete_job`."""
    return _called(lambda client: client.delete_job(job_id), server_url)


def clean_up(server_url: str | None = None, **conditions: Any) -> list[str]:
    """Delete completed jobs and return their ids. See `CiClient.clean_up`."""
    return _called(lambda client: client.clean_up(**conditions), server_url)


def _called(call: Callable[[CiClient], Awaitable[T]], server_url: str | None) -> T:
    async def run() -> T:
        async with CiClient(server_url) as client:
            return await call(client)

    with start_blocking_portal() as portal:
        return _awaited(portal, run)


def _iterated(
    iterate: Callable[[CiClient], AsyncGenerator[Event, None]], server_url: str | None, reconnect_seconds: float
) -> Generator[Event, None, None]:
    client = CiClient(server_url, reconnect_seconds=reconnect_seconds)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
        events = iterate(client)
        try:
            while (event := _awaited(portal, anext, events, None)) is not None:
                yield event
        finally:
            portal.call(events.aclose)


def _awaited(portal: BlockingPortal, call: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Return what the call returns. An interrupt of this thread (Ctrl-C) first ends the call."""
    future: Future[T] = portal.start_task_soon(call, *args)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        wait([future])
        raise
